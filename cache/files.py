"""File operations the stores share: errors in words, removal that no mode stops, replacement that is whole or not."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from cache.errors import DiskFullError, StoreError

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def disk_errors(path: Path | str) -> Iterator[None]:
    """Turn an OSError inside into a StoreError about `path`; no space left into DiskFullError."""
    try:
        yield
    except OSError as exc:
        raise disk_error(path, exc) from exc


def disk_error(path: Path | str, exc: OSError) -> StoreError:
    """The error to tell for `exc` while working on `path`."""
    if exc.errno in _FULL:
        return DiskFullError(
            f"no space left while writing {path}", remedy="free some space, or run tiffin system prune"
        )
    return StoreError(f"cannot use {path}: {exc.strerror}", remedy="check the path and its permissions")


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, whole and synced; raises StoreError."""
    temporary = path.parent / f".new-{os.urandom(8).hex()}"
    with disk_errors(path):
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(fd)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


def remove_tree(path: Path) -> None:
    """Remove `path` and all below it, never following a link; directories without permission are opened up first.

    Missing is fine. Raises OSError for what cannot be removed (other owners outside their user namespace).
    """
    try:
        st = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(st.st_mode):
        os.unlink(path)
        return
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _remove_directory(parent, path.name)
    finally:
        os.close(parent)


def _remove_directory(parent: int, name: str) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)
        fd = os.open(name, flags, dir_fd=parent)
    try:
        if os.fstat(fd).st_mode & 0o300 != 0o300:
            with contextlib.suppress(PermissionError):
                os.fchmod(fd, 0o700)
        with os.scandir(fd) as found:
            children = [(item.name, item.is_dir(follow_symlinks=False)) for item in found]
        for child, is_directory in children:
            if is_directory:
                _remove_directory(fd, child)
            else:
                os.unlink(child, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)
