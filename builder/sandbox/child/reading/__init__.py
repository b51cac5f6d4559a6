"""Tell what a command looked up in its root."""
