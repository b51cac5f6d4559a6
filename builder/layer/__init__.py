"""Layers: table of contents, diff, tar, compression."""
