"""Bake files: targets in HCL, JSON or compose files to build definitions."""
