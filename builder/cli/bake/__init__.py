"""The command line of bake files: what is asked of targets, and what is told of them."""
