"""Connect the network of a sandbox from a process beside it."""
