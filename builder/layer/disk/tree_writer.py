"""Write entries into a directory as an overlay lower: real owners, whiteouts as device 0:0, opaque as an attribute.

Everything is made through directory descriptors, relative to its parent, never following a link, and changed through
descriptors of itself: nothing that happens to the tree meanwhile leads a write out of the root.

Directories get owner, mode, attributes and time last. Until then they are the writer's own with mode 0700, so neither a
missing permission nor a set-group-id bit has a say in what is made below them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from tiffin.builder.errors import ImageError
from tiffin.builder.layer.byte_streams import ByteReader
from tiffin.builder.layer.disk import xattrs
from tiffin.builder.layer.disk.directories import Directories, host_name
from tiffin.builder.layer.disk.inodes import InodeWriter
from tiffin.builder.layer.index import Entry
from tiffin.cache.foundation.files import disk_error

ROOT_MODE = 0o755
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINK = (errno.ENOENT, errno.EMLINK, errno.ENOTDIR, errno.ELOOP)


class TreeWriter:
    """Writes into `root`, an empty directory. Used as a context manager; `finish` completes the directories.

    Without `whiteouts` nothing is written of what a layer hides: the tree is not for an overlay. With `records` owners
    are noted beside the inodes, also those the id map has: the tree is for a sandbox with one id.
    """

    def __init__(self, root: Path, *, whiteouts: bool = True, records: bool = False) -> None:
        self._root = root
        self._whiteouts = whiteouts
        self._inodes = InodeWriter(records=records)
        self._made: dict[str, Entry] = {}  # directories
        self._opaque: list[str] = []
        try:
            self._directories = Directories(root)
            fd = self._directories.descriptor("")
            if os.fstat(fd).st_mode & stat.S_ISGID:  # as a directory above may have handed down
                os.fchown(fd, os.geteuid(), os.getegid())
                os.fchmod(fd, ROOT_MODE)
        except OSError as exc:
            raise disk_error(root, exc) from exc

    def __enter__(self) -> TreeWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._directories.close()

    def put(
        self, entry: Entry, content: ByteReader | None = None, *, replaces: Entry | None = None, merges: bool = False
    ) -> None:
        """Make one entry; its parents exist. `replaces` is there and goes first; `merges`: the directory stays.

        Raises StoreError for the disk, BuildError for content of another size, ImageError for an impossible hardlink.
        """
        try:
            parent, _, last = entry.path.rpartition("/")
            if replaces is not None and (self._whiteouts or replaces.kind != "whiteout"):
                self._remove(replaces)
            if entry.kind == "whiteout" and not self._whiteouts:
                return
            if entry.kind == "dir":
                self._made[entry.path] = entry
                if not merges:
                    os.mkdir(host_name(last), 0o700, dir_fd=self._directories.descriptor(parent))
            else:
                self._create(entry, host_name(last), self._directories.descriptor(parent), content)
        except OSError as exc:
            raise self._failed(entry.path, exc) from exc

    def put_parent(self, entry: Entry) -> None:
        """Make a directory, in the place of a whiteout if there is one."""
        parent, _, last = entry.path.rpartition("/")
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            os.unlink(host_name(last), dir_fd=self._directories.descriptor(parent))
        self.put(entry)

    def mark_opaque(self, path: str) -> None:
        """Hide what lower layers have below the directory `path`."""
        self._opaque.append(path)

    def finish(self) -> None:
        """Complete the directories, deepest first, as making what they hold changed their times."""
        opaque = {*self._opaque, *(path for path, entry in self._made.items() if entry.opaque)}
        if not self._whiteouts:
            opaque.clear()
        for path in sorted(self._made, key=lambda path: path.count("/"), reverse=True):
            entry = self._made[path]
            parent, _, last = path.rpartition("/")
            try:
                fd = os.open(host_name(last), _DIRECTORY, dir_fd=self._directories.descriptor(parent))
                try:
                    if path in opaque:
                        os.setxattr(fd, xattrs.OVERLAY_OPAQUE, b"y")
                    self._inodes.complete(fd, entry)
                finally:
                    os.close(fd)
            except OSError as exc:
                raise self._failed(path, exc) from exc

    def _failed(self, path: str, exc: OSError) -> Exception:
        return disk_error(f"{self._root}/{path}", exc)

    def _create(self, entry: Entry, name: bytes, parent: int, content: ByteReader | None) -> None:
        match entry.kind:
            case "hardlink":
                self._hardlink(entry)
            case "whiteout":
                os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent)
            case _:
                self._inodes.create(entry, name, parent, content)

    def _hardlink(self, entry: Entry) -> None:
        source_parent, _, source = entry.link.rpartition("/")
        parent, _, name = entry.path.rpartition("/")
        try:
            os.link(
                host_name(source),
                host_name(name),
                src_dir_fd=self._directories.descriptor(source_parent),
                dst_dir_fd=self._directories.descriptor(parent),
                follow_symlinks=False,
            )
        except OSError as exc:
            if exc.errno not in _NO_LINK:
                raise
            raise ImageError(
                f'cannot link "{entry.path}" to "{entry.link}": {exc.strerror}',
                remedy="the layer is damaged or hostile, or has more links to a file than this file system",
            ) from exc

    def _remove(self, entry: Entry) -> None:
        """Remove what is at the path, whole subtrees without recursion."""
        pending = [entry.path] if entry.kind == "dir" else []
        if not pending:
            parent, _, name = entry.path.rpartition("/")
            os.unlink(host_name(name), dir_fd=self._directories.descriptor(parent))
        found: list[str] = []
        while pending:
            path = pending.pop()
            found.append(path)
            self._made.pop(path, None)
            fd = self._directories.descriptor(path)
            with os.scandir(fd) as items:
                children = [(os.fsencode(item.name), item.is_dir(follow_symlinks=False)) for item in items]
            for child, is_directory in children:
                if is_directory:
                    pending.append(f"{path}/{child.decode('utf-8', 'surrogateescape')}")
                else:
                    os.unlink(child, dir_fd=fd)
        self._directories.forget(entry.path)
        for path in reversed(found):
            parent, _, name = path.rpartition("/")
            os.rmdir(host_name(name), dir_fd=self._directories.descriptor(parent))
            self._directories.forget(path)
