"""Build again whenever a file changes, and run what was built."""
