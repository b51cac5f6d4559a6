"""What each Dockerfile instruction means."""
