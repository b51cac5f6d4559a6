"""Who may mount the files of a container that does not run: one at a time, and nobody beside its command."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tiffin.cache.foundation.files import flocked

FILE = "files.lock"  # taken after that of the container, or alone


@contextlib.contextmanager
def files_held(folder: Path) -> Iterator[None]:
    """Hold the files in a container's folder; waits for others. Raises StoreError."""
    with flocked(folder / FILE, shared=False, blocking=True):
        yield
