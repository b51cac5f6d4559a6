"""Programs of this machine that tiffin starts: found by absolute path, so that none of a context or an image is."""

from __future__ import annotations

import os
from pathlib import Path


def safe_path(search_path: str) -> str:
    """Return a PATH without its relative directories: what they hold depends on where tiffin was called."""
    return ":".join(folder for folder in search_path.split(":") if folder.startswith("/"))


def find_program(name: str, search_path: str) -> str:
    """Return the absolute path of the program `name` (no slash in it), "" if it is nowhere."""
    for folder in safe_path(search_path).split(":"):
        path = Path(f"{folder}/{name}")
        if folder and os.access(path, os.X_OK) and path.is_file():
            return os.fspath(path)
    return ""
