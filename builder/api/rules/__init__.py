"""What a build may use and do: locks, policies, the audit log, recorded fetches."""
