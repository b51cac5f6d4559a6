"""Do what tiffin does, without a terminal: build, run, move and remove images."""
