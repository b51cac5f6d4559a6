"""Keep blobs, layers, records and cache mounts in the state directory."""
