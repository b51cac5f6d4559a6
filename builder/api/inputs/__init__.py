"""Find what a build is given: contexts and base images."""
