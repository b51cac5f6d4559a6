"""Turn a Dockerfile and a context into an image, move images, run them."""
