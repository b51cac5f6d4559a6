"""Wait until files change or processes end, by the kernel's inotify and pidfds: nobody looks again and again."""

from __future__ import annotations

import contextlib
import os
import select
from pathlib import Path

from tiffin.builder.containers.state import ContainerState, process_start
from tiffin.builder.sandbox.child.kernel import LIBC
from tiffin.cache.foundation import c_types

# inotify(7): IN_MODIFY, IN_MOVED_TO, IN_MOVE_SELF, IN_CREATE, IN_DELETE_SELF
MODIFIED, MOVED_TO, MOVED_AWAY, CREATED, REMOVED = 0x2, 0x80, 0x800, 0x100, 0x400
ATTRIBUTES = 0x4  # the last link of a file that is open went
READ_BYTES = 1 << 14


class Changes:
    """Changes of files, or of what is in folders; use it in `with`. Where the kernel watches nothing more, `wait` only
    waits.
    """

    def __init__(self, path: Path, mask: int = MODIFIED | MOVED_TO | MOVED_AWAY | REMOVED | ATTRIBUTES) -> None:
        self._fd = LIBC.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        self._processes: list[int] = []
        self.add(path, mask)

    def __enter__(self) -> Changes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Watch nothing any more."""
        for fd in (self._fd, *self._processes):
            if fd >= 0:
                os.close(fd)
        self._fd, self._processes = -1, []

    def add(self, path: Path, mask: int = MODIFIED | MOVED_TO | REMOVED) -> None:
        """Watch another file or folder."""
        if self._fd >= 0:
            LIBC.inotify_add_watch(self._fd, os.fsencode(path), c_types.c_uint(mask))

    def add_holder(self, state: ContainerState) -> None:
        """Watch for the end of the process that holds a container: what is killed writes nothing."""
        with contextlib.suppress(OSError):
            fd = os.pidfd_open(state.pid) if state.pid else -1
            if process_start(state.pid) == state.pid_started:
                self._processes.append(fd)
            elif fd >= 0:
                os.close(fd)

    def wait(self, seconds: float | None) -> None:
        """Wait for a change since the last call, at most for a time."""
        poller = select.poll()
        for fd in (self._fd, *self._processes):
            if fd >= 0:
                poller.register(fd, select.POLLIN)
        for fd, _ in poller.poll(None if seconds is None else max(seconds * 1000, 1)):
            if fd == self._fd:
                os.read(fd, READ_BYTES)
            else:
                self._processes.remove(fd)
                os.close(fd)
