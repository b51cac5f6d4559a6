"""What is said of images: list, show, sign and verify it."""
