"""What is in an image, layer by layer, to be looked through."""
