"""Build, share and run container images without root or a daemon."""
