"""Functions that expressions of bake files call, by buildx's names."""
