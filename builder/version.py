"""The version, here so that telling it costs nothing; a test compares it with pyproject.toml."""

VERSION = "0.1.0"
