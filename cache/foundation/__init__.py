"""Give what all else stands on: values, digests, files."""
