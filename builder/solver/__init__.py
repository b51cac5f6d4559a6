"""Plan a build, look its steps up, execute what is missing, record it."""
