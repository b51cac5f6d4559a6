"""Changes of a container that is there: paused, with other limits."""
