"""Dockerfile.lock: which digests and commits the sources of a build had, and builds that use nothing else."""
