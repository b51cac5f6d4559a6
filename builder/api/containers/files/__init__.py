"""Commands that work with the files of containers."""
