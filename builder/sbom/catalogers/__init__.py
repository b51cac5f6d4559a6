"""One module for each kind of package: which files tell of packages, and what they tell."""
