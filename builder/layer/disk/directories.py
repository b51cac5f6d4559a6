"""Directories below a root by descriptor: every step is opened relative to the one before and never follows a link.

So a path of any length works, and nothing that happens to the tree meanwhile leads out of the root.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from tiffin.builder.layer.paths import ROOT

MAX_OPEN = 64  # descriptors kept; a tree is mostly visited directory by directory
KEPT_STEPS = 16  # of a walk down, so that going back up a deep path does not begin at the root each time
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Directories:
    """Open directories of one tree, the last few kept. Closed by `close`, as a context manager, or when forgotten.

    The descriptor of an open directory will do as `root`, too; it stays the caller's.
    """

    def __init__(self, root: Path | str | int) -> None:
        self._lock = threading.Lock()  # guards _open, and use of its descriptors in `open`; nothing is taken under it
        self._open: dict[str, int] = {}
        self._root = os.open(".", _FLAGS, dir_fd=root) if isinstance(root, int) else os.open(root, _FLAGS)

    def __enter__(self) -> Directories:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # the root could not be opened
            self.close()

    def close(self) -> None:
        self.forget(ROOT)
        root, self._root = self._root, -1
        if root >= 0:
            os.close(root)

    def descriptor(self, path: str) -> int:
        """Return the directory `path` ("." for the root), open for reading; valid while two others are asked for."""
        if path in ("", ROOT):
            return self._root
        known = self._open.pop(path, None)
        if known is not None:
            self._open[path] = known  # now the last to be closed
            return known
        self._open.update(self._walk(path))
        while len(self._open) > MAX_OPEN:
            os.close(self._open.pop(next(iter(self._open))))
        return self._open[path]

    def open(self, path: str) -> int:
        """Open a file for reading; its descriptor is the caller's. Safe to call from several threads."""
        parent, _, name = path.rpartition("/")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with self._lock:
            return os.open(host_name(name), flags, dir_fd=self.descriptor(parent))

    @contextlib.contextmanager
    def reopened(self, path: str) -> Iterator[int]:
        """Yield the directory `path` by a descriptor of its own for the block. Safe to call from several threads."""
        with self._lock:
            fd = os.dup(self.descriptor(path))
        try:
            yield fd
        finally:
            os.close(fd)

    def forget(self, path: str) -> None:
        """Close what is kept open at `path` and below, as it is about to go."""
        prefix = "" if path == ROOT else f"{path}/"
        for known in [known for known in self._open if known == path or known.startswith(prefix)]:
            os.close(self._open.pop(known))

    def _walk(self, path: str) -> dict[str, int]:
        """Open `path` step by step from the nearest directory that is open; the last steps, in order."""
        here = path
        while here and here not in self._open:
            here = here.rpartition("/")[0]
        fd = self._open[here] if here else self._root
        steps: dict[str, int] = {}
        try:
            for name in path[len(here) :].lstrip("/").split("/"):
                here = f"{here}/{name}" if here else name
                fd = steps[here] = os.open(host_name(name), _FLAGS, dir_fd=fd)
                if len(steps) > KEPT_STEPS:
                    os.close(steps.pop(next(iter(steps))))
        except OSError:
            for fd in steps.values():
                os.close(fd)
            raise
        return steps


def host_name(name: str) -> bytes:
    """Return a name of the image as the kernel takes it, whatever this process's locale."""
    return name.encode("utf-8", "surrogateescape")


def image_name(name: bytes) -> str:
    """Return the reverse of `host_name`."""
    return name.decode("utf-8", "surrogateescape")
