"""Wait until files change, by the kernel's inotify: nobody looks again and again."""

from __future__ import annotations

import ctypes
import os
import select
from pathlib import Path

from tiffin.builder.sandbox.child.kernel import LIBC

# inotify(7): IN_MODIFY, IN_MOVED_TO, IN_MOVE_SELF, IN_DELETE_SELF
MODIFIED, MOVED_TO, MOVED_AWAY, REMOVED = 0x2, 0x80, 0x800, 0x400
ATTRIBUTES = 0x4  # the last link of a file that is open went
READ_BYTES = 1 << 14


class Changes:
    """Changes of one file or folder; use it in `with`. Where the kernel watches nothing more, `wait` only waits."""

    def __init__(self, path: Path, mask: int = MODIFIED | MOVED_TO | MOVED_AWAY | REMOVED | ATTRIBUTES) -> None:
        self._fd = LIBC.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd >= 0:
            LIBC.inotify_add_watch(self._fd, os.fsencode(path), ctypes.c_uint32(mask))

    def __enter__(self) -> Changes:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def wait(self, seconds: float | None) -> None:
        """Wait for a change since the last call, at most for a time."""
        poller = select.poll()
        if self._fd >= 0:
            poller.register(self._fd, select.POLLIN)
        if poller.poll(None if seconds is None else max(seconds * 1000, 1)):
            os.read(self._fd, READ_BYTES)
