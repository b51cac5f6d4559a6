"""Write entries into a directory as an overlay lower: real owners, whiteouts as device 0:0, opaque as an attribute.

The directory is new and nobody else writes there, so what was made is known: a path is only ever opened through parents
that this writer made as directories, and nothing can lead outside.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from builder.errors import BuildError, ImageError
from builder.layer import xattrs
from builder.layer.index import Entry, new_entry
from builder.layer.paths import ROOT, resolve_links
from cache.files import disk_error, remove_tree

NEW_PARENT_MODE = 0o755
COPY_BYTES = 1 << 20
_UNMAPPED = (errno.EINVAL, errno.EPERM)


class TreeWriter:
    """Writes into `root`, an empty directory. `finish` sets what must come last: times and modes of directories."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._base = os.fspath(root)
        self._made: dict[str, Entry] = {}

    def parent_resolved(self, path: str) -> str:
        """`path` with symlinks among its parents followed, inside what this layer has made."""
        parent, _, name = path.rpartition("/")
        if not parent or self._is_plain(parent):
            return path
        resolved = resolve_links(parent, self._link_text)
        return name if resolved == ROOT else f"{resolved}/{name}"

    def make_parents(self, path: str) -> list[Entry]:
        """Make missing parents of `path`, root's with mode 0755; returns their entries."""
        made: list[Entry] = []
        parent = path.rpartition("/")[0]
        missing = []
        while parent and parent not in self._made:
            missing.append(parent)
            parent = parent.rpartition("/")[0]
        if parent and self._made[parent].kind != "dir":
            raise ImageError(f'"{path}" lies below "{parent}", which is no directory', remedy="the layer is damaged")
        for directory in reversed(missing):
            entry = new_entry(directory, "dir", NEW_PARENT_MODE)
            self.put(entry, None)
            made.append(entry)
        return made

    def put(self, entry: Entry, content: BinaryIO | None) -> None:
        """Make one entry; its parents exist. A path made before is replaced, directories are merged."""
        host_path = f"{self._base}/{entry.path}"
        before = self._made.get(entry.path)
        if before is not None and entry.kind == "whiteout":
            return  # whiteouts speak of lower layers only
        try:
            if before is not None and (before.kind != "dir" or entry.kind != "dir"):
                self._forget(entry.path)
            self._create(host_path, entry, content, merge=before is not None and before.kind == "dir")
        except OSError as exc:
            raise disk_error(host_path, exc) from exc
        self._made[entry.path] = entry

    def mark_opaque(self, path: str) -> None:
        """Hide what lower layers have below the directory `path`."""
        with contextlib.suppress(FileNotFoundError):
            os.setxattr(f"{self._base}/{path}", xattrs.OVERLAY_OPAQUE, b"y")

    def finish(self) -> None:
        """Set times of directories, deepest first, as making what they hold changed them."""
        for path in sorted((path for path, entry in self._made.items() if entry.kind == "dir"), reverse=True):
            entry = self._made[path]
            os.utime(f"{self._base}/{path}", ns=(entry.mtime_ns, entry.mtime_ns))

    def _is_plain(self, path: str) -> bool:
        while path:
            made = self._made.get(path)
            if made is not None and made.kind != "dir":
                return False
            path = path.rpartition("/")[0]
        return True

    def _link_text(self, path: str) -> str | None:
        made = self._made.get(path)
        return made.link if made is not None and made.kind == "symlink" else None

    def _forget(self, path: str) -> None:
        remove_tree(Path(f"{self._base}/{path}"))
        for other in [other for other in self._made if other == path or other.startswith(f"{path}/")]:
            del self._made[other]

    def _create(self, host_path: str, entry: Entry, content: BinaryIO | None, *, merge: bool) -> None:
        match entry.kind:
            case "file":
                self._file(host_path, entry, content)
            case "dir":
                if not merge:
                    os.mkdir(host_path, 0o700)
            case "symlink":
                os.symlink(entry.link, host_path)
            case "hardlink":
                self._hardlink(host_path, entry)
                return
            case "fifo":
                os.mkfifo(host_path, 0o600)
            case "whiteout":
                os.mknod(host_path, stat.S_IFCHR, os.makedev(0, 0))
                return
            case _:
                self._device(host_path, entry)
        self._attributes(host_path, entry)

    def _file(self, host_path: str, entry: Entry, content: BinaryIO | None) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(host_path, flags, 0o600)
        try:
            left = entry.size
            while left and content is not None and (data := content.read(min(left, COPY_BYTES))):
                left -= len(data)
                _write(fd, data)
            if left:
                raise BuildError(
                    f'"{entry.path}" changed its size while it was being read', remedy="build again when it is at rest"
                )
            if entry.size >= COPY_BYTES:
                os.ftruncate(fd, entry.size)
        finally:
            os.close(fd)

    def _hardlink(self, host_path: str, entry: Entry) -> None:
        target = self._made.get(self.parent_resolved(entry.link))
        if target is None or target.kind in ("dir", "whiteout"):
            raise ImageError(
                f'hardlink "{entry.path}" leads to "{entry.link}", which is no file of its layer',
                remedy="the layer is damaged or hostile",
            )
        os.link(f"{self._base}/{target.path}", host_path, follow_symlinks=False)

    def _device(self, host_path: str, entry: Entry) -> None:
        kind = stat.S_IFCHR if entry.kind == "char" else stat.S_IFBLK
        try:
            os.mknod(host_path, kind | 0o600, os.makedev(entry.major, entry.minor))
        except PermissionError:  # a user namespace makes no devices: an empty file stands for it
            os.close(os.open(host_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            letter = "c" if entry.kind == "char" else "b"
            os.setxattr(host_path, xattrs.DEVICE, f"{letter} {entry.major}:{entry.minor}".encode())

    def _attributes(self, host_path: str, entry: Entry) -> None:
        """Owner, then mode, then attributes, then time: each may undo what comes after it."""
        if entry.uid or entry.gid:
            self._owner(host_path, entry)
        if entry.kind != "symlink":
            os.chmod(host_path, entry.mode)
        for name, value in entry.xattrs:
            try:
                os.setxattr(host_path, name, value, follow_symlinks=False)
            except OSError as exc:
                if exc.errno not in (errno.ENOTSUP, errno.EPERM):
                    raise
        if entry.opaque:
            self.mark_opaque(entry.path)
        if entry.kind != "dir":
            os.utime(host_path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)

    def _owner(self, host_path: str, entry: Entry) -> None:
        try:
            os.chown(host_path, entry.uid, entry.gid, follow_symlinks=False)
        except OSError as exc:
            if exc.errno not in _UNMAPPED:
                raise
            if entry.kind != "symlink":  # the id map has no such id: keep it beside the inode
                os.setxattr(host_path, xattrs.OWNER, f"{entry.uid}:{entry.gid}".encode())


def _write(fd: int, data: bytes) -> None:
    """Write all of `data`; a chunk of zeros becomes a hole."""
    if len(data) == COPY_BYTES and not data.strip(b"\0"):
        os.lseek(fd, len(data), os.SEEK_CUR)
        return
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
