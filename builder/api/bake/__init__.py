"""What tiffin bake does: definitions are read, targets are built as one graph."""
