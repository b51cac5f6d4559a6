"""What a copy is made of: a tree read entry by entry, whatever happens to it meanwhile.

Directories are opened one from the other and links are never followed, so nothing that a container does to its files
leads out of it. Laws: what vanishes while it is read is left out; a file is as long as it was when it was opened.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Collection, Iterator
from typing import BinaryIO, NamedTuple, cast

from tiffin.builder.errors import StoreError
from tiffin.builder.layer.disk import xattrs
from tiffin.builder.layer.disk.diff import read_entry
from tiffin.builder.layer.disk.directories import Directories, host_name, image_name
from tiffin.builder.layer.index import Entry, linked_entry
from tiffin.builder.layer.paths import ROOT
from tiffin.builder.layer.tar.writer import BLOCK_BYTES, END_OF_ARCHIVE

MAX_UNSIZED_BYTES = 1 << 20
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SWAPPED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO)  # another thing is there by now
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Item(NamedTuple):
    """An entry, its path below the top ("." is the top itself), and what opens the content of a file."""

    entry: Entry
    open: Callable[[], BinaryIO] | None = None


Items = Iterator[Item]


def read_tree(directory: int, name: str, *, skipped: Collection[str] = ()) -> Items:
    """Yield `name` in an open directory and all below it, parents first; "." for the directory's own content.

    `skipped`: directories below the top that are shown empty. Sockets are left out. Raises StoreError.
    """
    seen: dict[tuple[int, int], Entry] = {}
    top = _Level(directory, host_name(name), seen).item(ROOT)
    if top is None:
        raise StoreError(f'cannot copy "{name}": it is a socket, or is gone', remedy="copy something else")
    yield from _offered(top)
    if top.entry.kind != "dir":
        return
    directory = os.open(host_name(name), _DIRECTORY, dir_fd=directory)
    try:
        with Directories(directory) as directories:
            yield from _below(directories, seen, skipped)
    finally:
        os.close(directory)


def _below(directories: Directories, seen: dict[tuple[int, int], Entry], skipped: Collection[str]) -> Items:
    pending = [ROOT]
    while pending:
        path = pending.pop()
        prefix = "" if path == ROOT else f"{path}/"
        try:
            fd = directories.descriptor(path)
            names = sorted(os.listdir(fd), key=os.fsencode)
        except OSError as exc:
            if exc.errno in _SWAPPED:
                continue
            raise StoreError(f'cannot read "{path}": {exc.strerror}', remedy="check its permissions") from exc
        below = []
        with directories.reopened(path) as here:
            for name in names:
                child = prefix + image_name(os.fsencode(name))
                item = _Level(here, os.fsencode(name), seen).item(child)
                if item is None:
                    continue
                yield from _offered(item)
                if item.entry.kind == "dir" and child not in skipped:
                    below.append(child)
        pending += reversed(below)


def _offered(item: Item) -> Items:
    """Yield an item, and close its content if nobody wanted it."""
    try:
        yield item
    finally:
        if item.open is not None:
            item.open().close()


class _Level:
    """What one name in an open directory is."""

    def __init__(self, directory: int, name: bytes, seen: dict[tuple[int, int], Entry]) -> None:
        self._directory = directory
        self._name = name
        self._seen = seen

    def item(self, path: str) -> Item | None:
        """Return it as the item of a copy; None for what is not copied, or is gone. Raises StoreError."""
        try:
            st = os.lstat(self._name, dir_fd=self._directory)
            if not stat.S_ISREG(st.st_mode):
                return self._linked(path, st) or self._special(path, st)
            fd = os.open(self._name, _READ, dir_fd=self._directory)
        except OSError as exc:
            if exc.errno in _SWAPPED:
                return None
            raise StoreError(f'cannot read "{path}": {exc.strerror}', remedy="check its permissions") from exc
        st = os.fstat(fd)
        linked = self._linked(path, st)
        try:
            entry = read_entry(path, st, self._directory, self._name)
        except OSError:
            entry = None
        if linked is not None or entry is None or entry.kind != "file":
            os.close(fd)
            return linked or (Item(entry) if entry is not None else None)
        self._note(entry, st)
        content: BinaryIO = cast(BinaryIO, io.FileIO(fd))  # one is open at a time: it is used before the next is read
        if not entry.size and (data := os.read(fd, MAX_UNSIZED_BYTES)):  # of the kernel's own, which tell no size
            content.close()
            entry, content = entry._replace(size=len(data)), io.BytesIO(data)
        return Item(_plain(entry), lambda: content)

    def _special(self, path: str, st: os.stat_result) -> Item | None:
        entry = read_entry(path, st, self._directory, self._name)
        if entry is None or entry.kind == "whiteout":
            return None
        self._note(entry, st)
        return Item(_plain(entry))

    def _linked(self, path: str, st: os.stat_result) -> Item | None:
        first = self._seen.get((st.st_dev, st.st_ino)) if st.st_nlink > 1 and not stat.S_ISDIR(st.st_mode) else None
        return Item(linked_entry(first, path, first.path)) if first is not None else None

    def _note(self, entry: Entry, st: os.stat_result) -> None:
        if st.st_nlink > 1 and entry.kind != "dir":
            self._seen[st.st_dev, st.st_ino] = entry


def _plain(entry: Entry) -> Entry:
    """Return an entry without access lists, whose ids mean nothing elsewhere."""
    kept = tuple(item for item in entry.xattrs if item[0] not in xattrs.ACLS)
    return entry if kept == entry.xattrs else entry._replace(xattrs=kept)


def renamed(items: Items, name: str) -> Items:
    """Yield the items with paths in the directory they go to, where the top is called `name`; "" drops the top."""
    for item in items:
        entry = item.entry
        link = _joined(name, entry.link) if entry.kind == "hardlink" else entry.link
        yield Item(entry._replace(path=_joined(name, entry.path), link=link), item.open)


def _joined(name: str, path: str) -> str:
    return path if not name else name if path == ROOT else f"{name}/{path}"


class Counter:
    """Counts what a copy takes as a tar, which is what docker tells of it."""

    def __init__(self) -> None:
        self.size_bytes = len(END_OF_ARCHIVE)

    def counted(self, items: Items) -> Items:
        """Yield the items, counted."""
        for item in items:
            size = item.entry.size if item.entry.kind == "file" else 0
            self.size_bytes += BLOCK_BYTES + size + -size % BLOCK_BYTES
            yield item
