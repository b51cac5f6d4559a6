"""Refuse to an emulated user what the kernel would refuse."""
