"""What an image is and where images live."""
