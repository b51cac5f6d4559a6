"""Containers and their networks."""
