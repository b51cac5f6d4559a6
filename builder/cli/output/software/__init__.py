"""Lists of software, and of what is wrong with it, as text."""
