"""The version, here so that telling it costs nothing."""

VERSION = "0.1.0"
