"""The Compose specification: files become a project, a typed value. Nothing here runs anything."""
