"""Compress and decompress layers."""
