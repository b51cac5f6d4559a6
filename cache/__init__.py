"""Everything that outlives a build: blobs, step records, snapshots."""
