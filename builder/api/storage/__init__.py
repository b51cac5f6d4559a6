"""Look after the state directory: the build cache, prune, transfer."""
