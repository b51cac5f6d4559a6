"""The shared caches of a build."""
