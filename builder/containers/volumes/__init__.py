"""Directories that outlive containers."""
