"""From a layer's tar to its table of contents, and to a tree that overlayfs can mount.

Laws: index_layer, unpack and pack give equal indexes for the tar that pack wrote. Entries a tar repeats count once, the
last; parents a tar leaves out are added as root's with mode 0755.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import BinaryIO, cast

from builder.layer.changes import Change
from builder.layer.index import Entry, LayerIndex, new_entry, sort_key
from builder.layer.paths import ROOT, resolve_links
from builder.layer.tarread import Opaque, read_layer
from builder.layer.treewrite import NEW_PARENT_MODE, TreeWriter

READ_BYTES = 1 << 20
_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def index_layer(stream: BinaryIO) -> LayerIndex:
    """The table of contents of an uncompressed layer tar; nothing is written. Raises CorruptError, ImageError."""
    table = _Table()
    for item in read_layer(stream):
        if isinstance(item, Opaque):
            table.opaque(item.path)
            continue
        entry, content = item
        entry = entry._replace(path=table.parent_resolved(entry.path))
        table.add(_digested(entry, content))
    return table.index()


def unpack(stream: BinaryIO, root: Path) -> LayerIndex:
    """Unpack into `root`, an empty directory, as an overlay lower; returns the table of contents.

    Raises CorruptError and ImageError for bad layers, StoreError for the disk; `root` is then half done.
    """
    table, writer = _Table(), TreeWriter(root)
    opaque: list[str] = []
    for item in read_layer(stream):
        if isinstance(item, Opaque):
            table.opaque(item.path)
            opaque.append(item.path)
            continue
        entry, content = item
        entry = entry._replace(path=writer.parent_resolved(entry.path))
        if entry.path == ROOT:
            continue
        for parent in writer.make_parents(entry.path):
            table.add(parent)
        hashing = _Hashing(content) if content is not None else None
        writer.put(entry, cast(BinaryIO, hashing))
        table.add(entry._replace(digest=hashing.hexdigest()) if hashing is not None else entry)
    for path in opaque:
        if path != ROOT:
            writer.mark_opaque(path)
    writer.finish()
    return table.index()


def materialize(changes: list[Change], root: Path) -> None:
    """Write `changes` (sorted, parents first) into `root`, an empty directory, as an overlay lower."""
    writer = TreeWriter(root)
    for change in changes:
        if change.open is None:
            writer.put(change.entry, None)
        else:
            with change.open() as content:
                writer.put(change.entry, content)
    writer.finish()


class _Hashing(io.RawIOBase):
    def __init__(self, content: BinaryIO) -> None:
        super().__init__()
        self._content = content
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._content.read(size)
        self._hash.update(data)
        return data

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _digested(entry: Entry, content: BinaryIO | None) -> Entry:
    if content is None:
        return entry
    if not entry.size:
        return entry._replace(digest=_EMPTY_SHA256)
    hashing = _Hashing(content)
    while hashing.read(READ_BYTES):
        pass
    return entry._replace(digest=hashing.hexdigest())


class _Table:
    """Collects entries by path, with parents, as an unpacked tree would have them."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._opaque: set[str] = set()

    def parent_resolved(self, path: str) -> str:
        parent, _, name = path.rpartition("/")
        if not parent:
            return path
        entry = self._entries.get(parent)
        if entry is not None and entry.kind == "dir":
            return path
        resolved = resolve_links(parent, self._link_text)
        return name if resolved == ROOT else f"{resolved}/{name}"

    def add(self, entry: Entry) -> None:
        if entry.path == ROOT:
            return
        before = self._entries.get(entry.path)
        if before is not None and entry.kind == "whiteout":
            return
        if before is not None and before.kind == "dir" and entry.kind != "dir":
            for path in [path for path in self._entries if path.startswith(f"{entry.path}/")]:
                del self._entries[path]
        parent = entry.path.rpartition("/")[0]
        while parent and parent not in self._entries:
            self._entries[parent] = new_entry(parent, "dir", NEW_PARENT_MODE)
            parent = parent.rpartition("/")[0]
        self._entries[entry.path] = entry

    def opaque(self, path: str) -> None:
        self._opaque.add(path)

    def index(self) -> LayerIndex:
        entries = []
        for path in sorted(self._entries, key=sort_key):
            entry = self._entries[path]
            if path in self._opaque and entry.kind == "dir":
                entry = entry._replace(opaque=True)
            entries.append(entry)
        return LayerIndex(entries)

    def _link_text(self, path: str) -> str | None:
        entry = self._entries.get(path)
        return entry.link if entry is not None and entry.kind == "symlink" else None
