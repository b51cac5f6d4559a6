"""The merged view of unpacked layers before anything is mounted: single look-ups, and copies of small parts.

Whiteouts and opaque directories are those of overlayfs (a character device 0:0, the attribute user.overlay.opaque). The
trees are read-only and ours, so a path that was found to have no symlink in it stays so.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from tiffin.builder.layer.paths import ROOT, resolve_links
from tiffin.builder.sandbox.child import root_path

MAX_SMALL_FILE_BYTES = 10 << 20  # of /etc/passwd and /etc/group; the limit BuildKit has
OPAQUE_ATTRIBUTE = "user.overlay.opaque"
BOOKKEEPING_PREFIX = "user.overlay."
COPY_BYTES = 1 << 20


class RootView:
    """The root file system of `trees`, bottom first. Paths are relative, "." is the root itself."""

    def __init__(self, trees: Sequence[Path]) -> None:
        self._trees = tuple(os.fspath(tree) for tree in reversed(trees))

    def resolve(self, path: str) -> str:
        """Follow the symlinks of `path` inside the root; what is missing is kept as it stands."""
        return resolve_links(path, self._link_text)

    def host_path(self, path: str) -> str | None:
        """Return where a file, or the uppermost part of a directory, lies on this machine; `path` has no symlinks but
        last.
        """
        found = self._find(path)
        return found[0] if found else None

    def is_directory(self, path: str) -> bool:
        """Whether there is a directory at a resolved path."""
        found = self.host_path(path)
        return found is not None and stat.S_ISDIR(os.lstat(found).st_mode)

    def read_file(self, path: str) -> bytes | None:
        """Return the content of a small regular file, symlinks followed inside the root; None for anything else."""
        found = self.host_path(self.resolve(path))
        if found is None or not stat.S_ISREG(os.lstat(found).st_mode):
            return None
        return read_small(os.open(found, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))

    def children(self, path: str) -> Iterator[str]:
        """Yield the names in a directory, sorted."""
        names: dict[str, bool] = {}
        for directory in self._find(path) or ():
            with os.scandir(directory) as items:
                for item in items:
                    names.setdefault(item.name, not _is_whiteout(item.stat(follow_symlinks=False)))
        yield from sorted(name for name, visible in names.items() if visible)

    def copy_out(self, path: str, target: Path) -> None:
        """Copy the directory at resolved `path` to `target`, which must not exist, with owners, modes and times.

        Names of one file become files of their own. Sockets and devices are left out.
        """
        os.mkdir(target, 0o700)
        for name in self.children(path):
            below = name if path == ROOT else f"{path}/{name}"
            host_path = self.host_path(below)
            assert host_path is not None, below
            st = os.lstat(host_path)
            copy = target / name
            if stat.S_ISDIR(st.st_mode):
                self.copy_out(below, copy)
                continue
            if stat.S_ISLNK(st.st_mode):
                os.symlink(os.readlink(host_path), copy)
            elif stat.S_ISFIFO(st.st_mode):
                os.mkfifo(copy, 0o600)
            elif stat.S_ISREG(st.st_mode):
                _copy_content(host_path, copy)
            else:
                continue
            _copy_metadata(host_path, st, copy)
        self.copy_metadata(path, target)

    def copy_metadata(self, path: str, target: Path) -> None:
        """Give `target` owner, mode and times of what is at resolved `path`."""
        source = self.host_path(path)
        assert source is not None, path
        _copy_metadata(source, os.lstat(source), target)

    def _link_text(self, path: str) -> str | None:
        found = self.host_path(path)
        try:
            return None if found is None else os.readlink(found)
        except OSError:  # EINVAL: no symlink
            return None

    def _find(self, path: str) -> list[str] | None:
        """Return all directories that are merged at `path`, top first, or the one thing that is there; None for
        nothing.
        """
        found = list(self._trees)
        for part in path.split("/"):
            if part in ("", ROOT):
                continue
            found = _merged(found, part)
            if not found:
                return None
        return found


def read_in_root(root: int, path: str) -> bytes | None:
    """Read a small regular file below an open root as what runs there sees it; None for anything else."""
    with contextlib.suppress(OSError):
        place = root_path.open_in_root(root, path, os.O_PATH)
        try:
            if stat.S_ISREG(os.fstat(place).st_mode):  # to open a pipe may take forever
                return read_small(os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC))
        finally:
            os.close(place)
    return None


def read_small(fd: int) -> bytes | None:
    """Read an open file that is not to be long, and close it; None for one that is."""
    with open(fd, "rb") as stream:
        data = stream.read(MAX_SMALL_FILE_BYTES + 1)
    return data if len(data) <= MAX_SMALL_FILE_BYTES else None


def _merged(directories: Sequence[str], name: str) -> list[str]:
    found: list[str] = []
    for directory in directories:
        candidate = f"{directory}/{name}"
        try:
            st = os.lstat(candidate)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not stat.S_ISDIR(st.st_mode):
            return found or ([] if _is_whiteout(st) else [candidate])
        found.append(candidate)
        if _is_opaque(candidate):
            break
    return found


def _is_whiteout(st: os.stat_result) -> bool:
    return stat.S_ISCHR(st.st_mode) and st.st_rdev == 0


def _is_opaque(directory: str) -> bool:
    try:
        return os.getxattr(directory, OPAQUE_ATTRIBUTE, follow_symlinks=False) == b"y"
    except OSError:  # no attribute, or a file system without
        return False


def _copy_content(source: str, target: Path) -> None:
    reader = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(reader, "rb", buffering=0) as stream, open(target, "xb", buffering=0) as sink:
        while os.copy_file_range(stream.fileno(), sink.fileno(), COPY_BYTES):
            pass


def _copy_metadata(source: str, st: os.stat_result, target: Path) -> None:
    """Copy the owner first: changing it clears set-id bits and capabilities."""
    os.chown(target, st.st_uid, st.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(st.st_mode):
        os.chmod(target, stat.S_IMODE(st.st_mode))
    for name in os.listxattr(source, follow_symlinks=False):
        if not name.startswith(BOOKKEEPING_PREFIX):
            with contextlib.suppress(OSError):  # an attribute of a security module this namespace may not set
                os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
    os.utime(target, ns=(st.st_atime_ns, st.st_mtime_ns), follow_symlinks=False)
