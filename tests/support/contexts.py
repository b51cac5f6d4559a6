"""Build contexts of tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def context_at(place: Path) -> Callable[..., Path]:
    """What makes a build context of a Dockerfile and files."""

    def make(dockerfile: str, name: str = "context", **files: str | bytes) -> Path:
        folder = place / name
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text(dockerfile)
        for path, content in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder

    return make
