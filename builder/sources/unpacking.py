"""ADD unpacks an archive: member by member onto the tree that is there, as tar does, but in tables alone.

Rules of the unpacker that BuildKit has (github.com/moby/go-archive, Unpack): the destination is the root that links
lead in; directories that no member tells stay as they are, new ones are root's with mode 0755; a member replaces what
has its name, but a directory only takes the place of a directory's attributes; a hardlink gives its attributes to all
names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tiffin.builder.errors import ImageError
from tiffin.builder.layer.compression.readahead import read_ahead
from tiffin.builder.layer.disk.xattrs import agreeing
from tiffin.builder.layer.index import Entry
from tiffin.builder.layer.paths import ROOT, resolve_links
from tiffin.builder.layer.tar.reader import read_members
from tiffin.builder.layer.tar.writer import WHITEOUT_PREFIX
from tiffin.builder.layer.unpack import drained_digest
from tiffin.builder.sources.changed_tree import IMPLIED_MODE, ChangedTree, Opener
from tiffin.builder.sources.layer_files import open_packed
from tiffin.cache.foundation.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackStyle:
    """What becomes of all members: `owner` None keeps each one's, `time_ns` None its time."""

    owner: tuple[int, int] | None
    time_ns: int | None

    def of(self, entry: Entry) -> Entry:
        uid, gid = self.owner or (entry.uid, entry.gid)
        return entry._replace(
            uid=uid, gid=gid, mtime_ns=entry.mtime_ns if self.time_ns is None else self.time_ns, offset=-1
        )


class Unpacker:
    """Unpacks onto `tree` below the directory `root`, which exists."""

    def __init__(self, tree: ChangedTree, root: str, style: UnpackStyle) -> None:
        self._tree = tree
        self._root = root
        self._prefix = "" if root == ROOT else f"{root}/"
        self._look = style
        self._directories: dict[str, Entry] = {}  # told by members: their times come last

    def unpack(self, tar: Path) -> None:
        """Take every member of a plain tar. Raises CorruptError, ImageError."""
        with tar.open("rb") as stream:
            for entry in archive_members(stream):
                if entry.path != ROOT:
                    self._place(entry, self._opener(tar, entry))
        for path, entry in self._directories.items():
            self._set_time(path, entry.mtime_ns)

    def _set_time(self, path: str, mtime_ns: int) -> None:
        """Set a time as utime(2) does, following what took a directory's place since; what leads nowhere is left."""
        with contextlib.suppress(ImageError):
            path = self._inside(path.removeprefix(self._prefix), follow_last=True)
            known = self._tree.lookup(path)
            if known is not None and known.kind != "symlink":
                self._tree.update(path, known._replace(mtime_ns=mtime_ns))

    def _opener(self, tar: Path, entry: Entry) -> Opener | None:
        return (lambda: open_packed(tar, entry)) if entry.kind == "file" and entry.size else None

    def _place(self, entry: Entry, opener: Opener | None) -> None:
        name = entry.path.rpartition("/")[2]
        if name.startswith(WHITEOUT_PREFIX):
            raise ImageError(
                f'no layer can hold "{entry.path}": names that begin with {WHITEOUT_PREFIX} mean deletions there',
                remedy="leave it out of the archive",
            )
        path = self._inside(entry.path)
        made = self._look.of(entry)
        current = self._tree.lookup(path)
        if current is not None and not (current.kind == entry.kind == "dir"):
            self._tree.remove(path)
            path = self._inside(entry.path)  # what went may be a link that the name itself goes through
        self._make_parents(path)
        if entry.kind == "hardlink":
            target = self._inside(entry.link)
            self._tree.link(path, target)
            self._update(path, made._replace(xattrs=self._joined(target, entry)))
            return
        if entry.kind == "dir":
            made = made._replace(xattrs=self._joined(path, entry))
            self._directories[path] = made
        self._tree.put(path, made, opener)

    def _joined(self, path: str, entry: Entry) -> tuple[tuple[str, bytes], ...]:
        """Return the attributes of what is at `path` and those a member sets."""
        known = self._tree.lookup(path)
        joined = {**dict(known.xattrs if known is not None else ()), **dict(entry.xattrs)}
        return agreeing(tuple(sorted(joined.items())), entry.mode)

    def _update(self, path: str, made: Entry) -> None:
        """Give an inode a hardlink's attributes; of a symbolic link's only the owner can be set."""
        known = self._tree.lookup(path)
        if known is not None and known.kind == "symlink":
            made = made._replace(mode=known.mode, mtime_ns=known.mtime_ns)
        self._tree.update(path, made)

    def _inside(self, name: str, *, follow_last: bool = False) -> str:
        """Return where a member's name leads: links among its parents are followed as if the destination were the
        root.
        """

        def link_text(path: str) -> str | None:
            return self._tree.link_text(self._prefix + path)

        found = resolve_links(name, link_text, follow_last=follow_last, may_leave=False)
        return self._root if found == ROOT else self._prefix + found

    def _make_parents(self, path: str) -> None:
        parts = path.removeprefix(self._prefix).split("/")[:-1]
        for count in range(1, len(parts) + 1):
            directory = self._prefix + "/".join(parts[:count])
            known = self._tree.lookup(directory)
            if known is None:
                self._tree.make_directory(directory, IMPLIED_MODE, None)
                made = self._tree.lookup(directory)
                assert made is not None
                self._tree.update(directory, made._replace(mode=IMPLIED_MODE))  # without a bit handed on
            elif known.kind != "dir":
                raise ImageError(
                    f'"{path.removeprefix(self._prefix)}" cannot be unpacked: "/{directory}" is not a directory',
                    remedy="unpack to another destination",
                )


def archive_members(stream: BinaryIO) -> Iterator[Entry]:
    """Yield the members of a plain tar in its order, with the digests of files. Raises CorruptError, ImageError."""
    with read_ahead(stream) as ahead:
        for entry, content in read_members(ahead):
            yield entry if content is None else entry._replace(digest=drained_digest(content))
