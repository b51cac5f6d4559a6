"""A container's folder, seen from outside: whether somebody holds it, what is written, what it still has."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from tiffin.builder.containers.state import FILE, ContainerState, read_state
from tiffin.builder.errors import CorruptError
from tiffin.cache.foundation import json_text
from tiffin.cache.foundation.files import flocked, remove_tree

ROOT_MODE = 0o755
HOLDING_SECONDS = 0.1  # in which who only looks into a container that is dead has its lock
ASKING_SECONDS = 10.0  # in which who asks whether it is held has let go of it, though the machine is busy
LOOK_SECONDS = 0.002
LOCK = "lock"
FILES_LOCK = "files.lock"  # taken after that of the container, or alone
GROUPS = "groups"  # the file with the paths of a container's control groups


def readable_state(folder: Path) -> ContainerState | None:
    """Read what is written of a container, None for nothing and for what is damaged."""
    try:
        return read_state(folder)
    except CorruptError:
        return None


def written(folders: Iterable[Path]) -> list[ContainerState]:
    """Read what is written of containers, without those of which nothing can be read."""
    return list(filter(None, map(readable_state, folders)))


def named(folders: Iterable[Path], name: str) -> list[ContainerState]:
    """Return the containers of a name: one, or none. Only what has its text is read in full."""
    found = written(folder for folder in folders if name and _mentions(folder, json_text.dumps(name).encode()))
    return [state for state in found if state.name == name]


def _mentions(folder: Path, text: bytes) -> bool:
    try:
        return text in (folder / FILE).read_bytes()
    except OSError:
        return False


def make_folder(path: Path) -> None:
    """Make a directory that is to be a root, or beside one."""
    os.mkdir(path)
    os.chmod(path, ROOT_MODE)


def make_anew(*paths: Path) -> None:
    """Make such directories in the place of those that are there, for the namespace's root."""
    from tiffin.builder.sandbox.userns import root_of_files

    with root_of_files():
        for path in paths:
            remove_tree(path)
            make_folder(path)


def is_held(folder: Path) -> bool:
    """Tell whether a process holds a container; any number may ask at once."""
    try:
        fd = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def hold(lock: int) -> bool:
    """Take a container's lock; False where a process has it, and does not only ask whether somebody does."""
    begun = time.monotonic()
    while not _flocked(lock, fcntl.LOCK_EX):
        is_asked = _flocked(lock, fcntl.LOCK_SH)  # only shared by who asks: nobody holds it
        if is_asked:
            fcntl.flock(lock, fcntl.LOCK_UN)
        if time.monotonic() - begun > (ASKING_SECONDS if is_asked else HOLDING_SECONDS):
            return False
        time.sleep(LOOK_SECONDS)
    return True


def _flocked(lock: int, kind: int) -> bool:
    """Take a lock of a kind; False where that would mean to wait."""
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def try_lock(folder: Path) -> Iterator[bool]:
    """Hold a container's lock if it is free; True also where there is none."""
    try:
        fd = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        yield True
        return
    try:
        yield hold(fd)
    finally:
        os.close(fd)


def remove_folder(folder: Path) -> None:
    """Remove what is in a container's folder, and its lock last: as long as there is one it is not taken for dead."""
    while folder.is_dir():
        with contextlib.suppress(FileNotFoundError):  # without its lock another command sweeps it, too
            for name in os.listdir(folder):
                if name != LOCK:
                    remove_tree(folder / name)
            remove_tree(folder)


def files_held(folder: Path) -> AbstractContextManager[bool]:
    """Hold the files of a container that does not run, to mount them: one at a time, and nobody beside its command.

    Waits for others. Raises StoreError.
    """
    return flocked(folder / FILES_LOCK, shared=False, blocking=True)


def release_groups(folder: Path) -> None:
    """Remove the control groups of a container whose processes have ended."""
    paths = groups_of(folder)
    if not paths:
        return
    from tiffin.builder.sandbox.cgroup import remove_groups

    if remove_groups(paths):
        (folder / GROUPS).unlink(missing_ok=True)


def groups_of(folder: Path) -> list[str]:
    """Return the control groups of a container, as they were noted."""
    try:
        lines = (folder / GROUPS).read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError:
        return []
    return [line for line in lines if line]
