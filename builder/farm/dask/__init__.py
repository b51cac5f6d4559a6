"""Dask's distributed as scheduler: who is there, slots, and connections straight between two machines."""
