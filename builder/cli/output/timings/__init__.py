"""Where the time of a command went: a profile in a file, spans for a collector."""
