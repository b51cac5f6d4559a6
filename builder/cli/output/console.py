"""A line for the user."""

from __future__ import annotations

import sys


def tell(text: str) -> None:
    """On stderr: errors, warnings, what is not the result."""
    sys.stderr.write(f"{text}\n")


def say(text: str) -> None:
    """On stdout: the result."""
    sys.stdout.write(f"{text}\n")
