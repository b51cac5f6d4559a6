"""File operations the stores share: errors in words, removal that no mode stops, replacement that is whole or not."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from tiffin.cache.errors import DiskFullError, StoreError

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def disk_errors(path: Path | str) -> Iterator[None]:
    """Turn an OSError inside into a StoreError about `path`; no space left into DiskFullError."""
    try:
        yield
    except OSError as exc:
        raise disk_error(path, exc) from exc


def disk_error(path: Path | str, exc: OSError) -> StoreError:
    """Return the error to tell for `exc` while working on `path`."""
    if exc.errno in _FULL:
        return DiskFullError(
            f"no space left while writing {path}", remedy="free some space, or run tiffin system prune"
        )
    return StoreError(f"cannot use {path}: {exc.strerror}", remedy="check the path and its permissions")


@contextlib.contextmanager
def flocked(path: Path, *, shared: bool, blocking: bool) -> Iterator[bool]:
    """Hold a flock on `path`, made if missing; yields False if it is busy and `blocking` is off.

    Ends with its holder.
    """
    with disk_errors(path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(fd, mode if blocking else mode | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(fd)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, whole and synced; raises StoreError."""
    write_pieces_atomically(path, (data,))


def write_pieces_atomically(path: Path, data: Iterable[bytes]) -> None:
    """Replace `path` like `write_atomically` by all pieces of `data`."""
    temporary = path.parent / f".new-{os.urandom(8).hex()}"
    with disk_errors(path):
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as stream:
                stream.writelines(data)
                stream.flush()
                os.fsync(fd)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


def remove_tree(path: Path) -> None:
    """Remove `path` and all below it, never following a link; directories without permission are opened up first.

    Missing is fine. However deep the tree is, three descriptors are enough: what lies two levels down is moved up to
    the top, which is removed as well. Raises OSError for what cannot be removed (other owners outside their namespace).
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
        top = _open_directory(path.name, parent)
        try:
            _empty(top)
        finally:
            os.close(top)
        os.rmdir(path.name, dir_fd=parent)
    finally:
        os.close(parent)


def _empty(top: int) -> None:
    moved = 0
    while names := _unlink_files(top):
        for name in names:
            child = _open_directory(name, top)
            try:
                for below in _unlink_files(child):
                    moved = _move_up(child, below, top, moved)
            finally:
                os.close(child)
            os.rmdir(name, dir_fd=top)


def _move_up(directory: int, name: str, top: int, moved: int) -> int:
    """Move a directory to the top under a name nothing there has; returns the number it got."""
    os.close(_open_directory(name, directory))  # its own entry for ".." changes, so it has to be writable
    while True:
        moved += 1
        try:
            os.rename(name, f".moved-{moved}", src_dir_fd=directory, dst_dir_fd=top)
            return moved
        except OSError as exc:
            if exc.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise


def _open_directory(name: str, parent: int) -> int:
    """Open a directory, made readable and writable for its owner."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)
        fd = os.open(name, flags, dir_fd=parent)
    if os.fstat(fd).st_mode & 0o300 != 0o300:
        with contextlib.suppress(PermissionError):
            os.fchmod(fd, 0o700)
    return fd


def _unlink_files(directory: int) -> list[str]:
    """Remove everything that is not a directory; the names of the directories."""
    with os.scandir(directory) as found:
        children = [(item.name, item.is_dir(follow_symlinks=False)) for item in found]
    for name, is_directory in children:
        if not is_directory:
            os.unlink(name, dir_fd=directory)
    return [name for name, is_directory in children if is_directory]
