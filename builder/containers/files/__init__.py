"""The files of a container: what is copied in and out, and what changed."""
