"""A run of an image: its state and its life."""
