"""Write layers to directories, and read what changed there."""
