"""From a layer's tar to its table of contents, and to a tree that overlayfs can mount.

Laws: index_layer, unpack and pack give equal indexes for the tar that pack wrote. tiffin.builder.layer.layer_builder
has the rules.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from tiffin.builder.layer.byte_streams import ByteReader
from tiffin.builder.layer.change import Change, ordered
from tiffin.builder.layer.compression.readahead import read_ahead
from tiffin.builder.layer.disk.tree_writer import TreeWriter
from tiffin.builder.layer.index import LayerIndex
from tiffin.builder.layer.layer_builder import LayerTable
from tiffin.builder.layer.tar.reader import Opaque, read_layer

READ_BYTES = 1 << 20
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def index_layer(stream: BinaryIO) -> LayerIndex:
    """Return the table of contents of an uncompressed layer tar; nothing is written.

    Raises CorruptError, ImageError.
    """
    table = LayerTable()
    with read_ahead(stream) as ahead:
        for item in read_layer(ahead):
            if isinstance(item, Opaque):
                table.hide_lower(item.path)
                continue
            entry, content = item
            placed = table.place(entry)
            if placed is not None and content is not None:
                table.set_digest(placed.entry.path, drained_digest(content))
    return table.index()


def unpack(stream: BinaryIO, root: Path, *, whiteouts: bool = True, records: bool = False) -> LayerIndex:
    """Unpack into `root`, an empty directory, as an overlay lower; returns the table of contents.

    Without `whiteouts` what the layer hides is in the table only: tiffin.builder.layer.disk.merge_into_root merges such
    trees. `records` as in TreeWriter. Raises CorruptError and ImageError for bad layers, StoreError for the disk;
    `root` is then half done.
    """
    table = LayerTable()
    with read_ahead(stream) as ahead, TreeWriter(root, whiteouts=whiteouts, records=records) as writer:
        for item in read_layer(ahead):
            if isinstance(item, Opaque):
                table.hide_lower(item.path)
                continue
            entry, content = item
            placed = table.place(entry)
            if placed is None:
                continue
            for parent in placed.parents:
                writer.put_parent(parent)
            if content is None or not placed.entry.size:
                writer.put(placed.entry, replaces=placed.replaces, merges=placed.merges)
                digest = EMPTY_SHA256
            else:
                hashing = _Hashing(content)
                writer.put(placed.entry, hashing, replaces=placed.replaces)
                digest = hashing.hexdigest()
            if content is not None:
                table.set_digest(placed.entry.path, digest)
        for parent in table.missing_opaque():
            writer.put_parent(parent)
        for path in table.opaque_paths():
            writer.mark_opaque(path)
        writer.finish()
    return table.index()


def materialize(changes: Sequence[Change], root: Path, *, records: bool = False) -> None:
    """Write `changes` into `root`, an empty directory, as an overlay lower. Parents must be among them."""
    with TreeWriter(root, records=records) as writer:
        for change in ordered(changes):
            if change.open is None:
                writer.put(change.entry)
            else:
                with change.open() as content:
                    writer.put(change.entry, content)
        writer.finish()


class _Hashing:
    """Content that is hashed as it is read."""

    def __init__(self, content: ByteReader) -> None:
        self._content = content
        self._hash = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._content.read(size)
        self._hash.update(data)
        return data

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def drained_digest(content: ByteReader) -> str:
    """Read `content` to its end; its SHA-256 (hex)."""
    hashing = _Hashing(content)
    while hashing.read(READ_BYTES):
        pass
    return hashing.hexdigest()
