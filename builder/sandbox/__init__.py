"""Namespaces, mounts and processes of RUN and run."""
