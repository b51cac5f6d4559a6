"""What the containers of a project print, and the files that they are made of, as both go on."""
