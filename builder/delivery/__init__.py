"""What becomes of a finished build."""
