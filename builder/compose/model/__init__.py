"""A project and its services as values."""
