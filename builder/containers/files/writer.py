"""Put the items of a copy into directories that are there, and in use: docker's rules of what may replace what."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator

from tiffin.builder.containers.files.contents import Item, Items
from tiffin.builder.errors import ContainerError, StoreError
from tiffin.builder.layer.disk.directories import host_name
from tiffin.builder.layer.disk.inodes import InodeWriter
from tiffin.builder.layer.index import Entry, new_entry
from tiffin.builder.layer.paths import ROOT
from tiffin.builder.owner_xattrs import CAPABILITY, OWNER
from tiffin.builder.sandbox.child import root_path
from tiffin.cache.foundation.files import disk_error
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import Protocol

KEPT = 16  # directories that stay open
NEW_PARENT_MODE = 0o755
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OVERWRITE = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What whoever writes can give a file. `owner` takes the place of all owners; ids from `limits` on become root's.

    Without `gives` files are the writer's own.
    """

    gives: bool = False
    owner: tuple[int, int] | None = None
    limits: tuple[int, int] = (1 << 32, 1 << 32)
    devices: bool = False
    capabilities: bool = False

    def applied(self, entry: Entry) -> Entry:
        """Return an entry as it can be made. Raises StoreError for a device node where there can be none."""
        if entry.kind in ("char", "block") and not self.devices:
            raise StoreError(
                f'cannot make the device node "{entry.path}" here: that takes root, or emulated owners',
                remedy="copy what is beside it",
            )
        uid, gid = (self.owner or (entry.uid, entry.gid)) if self.gives else (0, 0)
        if uid >= self.limits[0] or gid >= self.limits[1]:
            uid, gid = 0, 0
        if not self.capabilities:
            entry = entry._replace(xattrs=tuple(item for item in entry.xattrs if item[0] != CAPABILITY))
        return entry._replace(uid=uid, gid=gid)


class OpenDirectories(Protocol):
    """Directories by their paths below the one that a copy goes to."""

    def descriptor(self, path: str) -> int:
        """Open one; valid while a few others are asked for. Raises OSError."""


class DirectoriesInRoot:
    """Those of a container: links are followed inside its root, and nothing leads out."""

    def __init__(self, root: int, base: str) -> None:
        self._root = root
        self._base = base
        self._open: dict[str, int] = {}

    def descriptor(self, path: str) -> int:
        known = self._open.pop(path, None)
        if known is None:
            flags = os.O_RDONLY | os.O_DIRECTORY
            known = root_path.open_in_root(self._root, f"{self._base}/{path}".strip("/") or ".", flags)
        self._open[path] = known
        if len(self._open) > KEPT:
            os.close(self._open.pop(next(iter(self._open))))
        return known

    def close(self) -> None:
        """Close them all."""
        while self._open:
            os.close(self._open.popitem()[1])


class CopyWriter:
    """Writes items into `directories`; `shown` is what errors call the place."""

    def __init__(self, directories: OpenDirectories, rights: Rights, shown: str) -> None:
        self._directories = directories
        self._rights = rights
        self._shown = shown.rstrip("/")
        self._inodes = InodeWriter(inherits=rights.gives, exact=False)
        self._made: dict[str, Entry] = {}

    def write(self, items: Items) -> None:
        """Write all of them. Raises ContainerError, StoreError; what was written stays."""
        for item in items:
            if item.entry.path == ROOT:  # the directory is there, and stays as it is
                continue
            try:
                self._put(item)
            except OSError as exc:
                raise self._failed(item.entry.path, exc) from exc
        for path in sorted(self._made, key=lambda path: path.count("/"), reverse=True):
            with self._missing_is_fine(path):
                self._complete(self._made[path])

    def _put(self, item: Item) -> None:
        entry = self._rights.applied(item.entry)
        parent, _, last = entry.path.rpartition("/")
        directory, name = self._parent(parent), host_name(last)
        try:
            there: int | None = os.lstat(name, dir_fd=directory).st_mode
        except FileNotFoundError:
            there = None
        if there is not None and stat.S_ISDIR(there) != (entry.kind == "dir"):
            self._refuse(entry, is_directory=stat.S_ISDIR(there))
        if entry.kind == "dir":
            if there is None:
                os.mkdir(name, 0o700, dir_fd=directory)
            self._made[entry.path] = entry
            self._complete(entry._replace(mode=entry.mode | stat.S_IRWXU))
            return
        if there is not None and not self._cleared(name, directory, there, item):
            return
        if entry.kind == "hardlink":
            source, _, first = entry.link.rpartition("/")
            directories = {"src_dir_fd": self._parent(source), "dst_dir_fd": directory}
            os.link(host_name(first), name, follow_symlinks=False, **directories)
        elif item.open is None:
            self._inodes.create(entry, name, directory, None)
        else:
            with item.open() as content:
                self._inodes.create(entry, name, directory, content)

    def _refuse(self, entry: Entry, *, is_directory: bool) -> None:
        old, new = ("directory", "non-directory") if is_directory else ("non-directory", "directory")
        raise ContainerError(
            f'cannot overwrite {old} "{self._shown}/{entry.path}" with {new}', remedy="remove one of them first"
        )

    def _cleared(self, name: bytes, directory: int, there: int, item: Item) -> bool:
        """Remove what is at the place; False where a file is mounted there, which was written instead."""
        if not _is_mount(name, directory):
            os.unlink(name, dir_fd=directory)
            return True
        if item.open is None or not stat.S_ISREG(there):
            raise ContainerError(
                f"{self._shown}/{item.entry.path} is mounted there and cannot be replaced",
                remedy="copy to another place",
            )
        fd = os.open(name, _OVERWRITE, dir_fd=directory)
        try:
            with item.open() as content:
                self._inodes.fill(fd, item.entry, content)
        finally:
            os.close(fd)
        return False

    def _parent(self, path: str) -> int:
        """Return a directory, made as root's with those above it where an archive has none."""
        try:
            return self._directories.descriptor(path)
        except FileNotFoundError:
            if not path:
                raise
        parent, _, name = path.rpartition("/")
        os.mkdir(host_name(name), 0o700, dir_fd=self._parent(parent))
        self._complete(new_entry(path, "dir", NEW_PARENT_MODE, mtime_ns=0), keeps_time=True)
        return self._directories.descriptor(path)

    def _complete(self, entry: Entry, *, keeps_time: bool = False) -> None:
        parent, _, name = entry.path.rpartition("/")
        fd = os.open(host_name(name), _DIRECTORY, dir_fd=self._directories.descriptor(parent))
        try:
            if keeps_time:
                entry = entry._replace(mtime_ns=os.fstat(fd).st_mtime_ns)
            if self._rights.gives:
                with contextlib.suppress(OSError):  # what was recorded of a directory that was there
                    os.removexattr(fd, OWNER)
            self._inodes.complete(fd, entry)
        finally:
            os.close(fd)

    def _failed(self, path: str, exc: OSError) -> Exception:
        place = f"{self._shown}/{path}"
        if exc.errno == errno.EROFS:
            return ContainerError(f"{place} is on a read-only file system", remedy="copy to another place")
        return disk_error(place, exc)

    @contextlib.contextmanager
    def _missing_is_fine(self, path: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as exc:
            raise self._failed(path, exc) from exc


def remove_entry(name: bytes, directory: int) -> None:
    """Remove what is at a name in an open directory, with all it holds; what is not there is fine.

    Raises ContainerError for what is mounted there, OSError.
    """
    try:
        mode = os.lstat(name, dir_fd=directory).st_mode
        if _is_mount(name, directory):
            raise ContainerError(f"{os.fsdecode(name)} is mounted there and cannot be removed", remedy="unmount it")
        if stat.S_ISDIR(mode):
            shutil.rmtree(name, dir_fd=directory)
        else:
            os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return


def _is_mount(name: bytes, directory: int) -> bool:
    """Whether something is mounted at a name: from another mount namespace the kernel would take it away."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        return _mount_id(fd) != _mount_id(directory)
    finally:
        os.close(fd)


def _mount_id(fd: int) -> bytes:
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        return next((line for line in file if line.startswith(b"mnt_id:")), b"")
