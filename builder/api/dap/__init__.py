"""The Debug Adapter Protocol for builds: an editor steps through a Dockerfile, forward and back."""
