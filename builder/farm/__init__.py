"""Build with many machines: the driver plans and keys, workers execute steps."""
