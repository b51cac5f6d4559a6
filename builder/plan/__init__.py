"""Plan a build: stages, their steps and configuration, from a Dockerfile and options. Nothing is run or read."""
