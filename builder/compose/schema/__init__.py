"""The published JSON schema of compose files, kept as it is; NOTICE says whose it is."""
