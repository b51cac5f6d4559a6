"""Files that grow by a line of JSON at a time, and may be replaced while they are read: logs and events."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO


def whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines from where the file stands; one that is being written is left for the next time."""
    while True:
        place = file.tell()
        row = file.readline()
        if not row.endswith(b"\n"):
            file.seek(place)
            return
        yield row


def is_replaced(path: Path, file: BinaryIO) -> bool:
    """Tell whether another file, or the same one from its beginning, is being written in the place of this one."""
    try:
        found = os.fstat(file.fileno())
        return path.stat().st_ino != found.st_ino or found.st_size < file.tell()
    except OSError:
        return True
