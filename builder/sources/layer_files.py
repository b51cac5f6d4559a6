"""Open single files of layers, wherever the layer is: unpacked, packed, or packed and compressed."""

from __future__ import annotations

import io
import os
import tempfile
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, cast

from tiffin.builder.image.chain import LayerRef
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.layer.index import Entry
from tiffin.builder.layer.tar.reader import read_layer
from tiffin.builder.layer.tar.section_reader import FileSlice
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES, Digest


def open_packed(tar: Path, entry: Entry) -> BinaryIO:
    """Return the content of a file entry in a plain tar: a slice of it; a sparse file, which is none, is read out of
    it.
    """
    if entry.offset >= 0:
        fd = os.open(tar, os.O_RDONLY | os.O_CLOEXEC)
        return io.BufferedReader(FileSlice(fd, entry.offset, entry.size), COPY_CHUNK_BYTES)
    whole = tempfile.TemporaryFile(dir=tar.parent)  # noqa: SIM115  # the caller closes it, and with that it is gone
    with tar.open("rb") as stream:
        for item in read_layer(stream):
            if isinstance(item, tuple) and item[0].path == entry.path and item[1] is not None:
                whole.seek(0)
                whole.truncate()
                while data := item[1].read(COPY_CHUNK_BYTES):
                    whole.write(data)
    whole.seek(0)
    return cast(BinaryIO, whole)


class Members(AbstractContextManager["Members"]):
    """Opens members of layers; a compressed layer is decompressed once, into `scratch`, and then read at random.

    Thread-safe. `scratch` is an existing directory of the caller's, who also removes it.
    """

    def __init__(self, layers: LayerStore, scratch: Path) -> None:
        self._layers = layers
        self._scratch = scratch
        self._lock = threading.Lock()  # guards _spooled; taken last, nothing is taken under it but file locks
        self._spooled: dict[Digest, Path] = {}

    def __exit__(self, *_: object) -> None:
        for path in self._spooled.values():
            path.unlink(missing_ok=True)

    def open(self, layer: LayerRef, entry: Entry) -> BinaryIO:
        """Return the content of a file entry of `layer`; raises StoreError, CorruptError."""
        tree = self._layers.snapshot(layer.diff_id)
        if tree is not None:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.fdopen(os.open(f"{tree}/{entry.path}", flags), "rb", buffering=0)
        return open_packed(self._packed(layer), entry)

    def head(self, layer: LayerRef, entry: Entry, size: int) -> bytes:
        """Return the first `size` bytes of a file entry; a compressed layer is read up to there, and not kept.

        Raises StoreError, CorruptError.
        """
        plain = self._layers.plain_blob(layer.diff_id, layer.blob)
        if self._layers.snapshot(layer.diff_id) is not None or entry.offset < 0:
            opened = self.open(layer, entry)
        elif plain is not None:
            opened = open_packed(plain, entry)
        else:
            with self._layers.open_tar(layer.diff_id, layer.blob) as tar:
                _skip(tar, entry.offset)
                return _read(tar, min(size, entry.size))
        with opened as file:
            return _read(file, size)

    def _packed(self, layer: LayerRef) -> Path:
        """Return an uncompressed tar of the layer."""
        with self._lock:
            if layer.diff_id not in self._spooled:
                path = self._scratch / layer.diff_id.hex
                with self._layers.open_tar(layer.diff_id, layer.blob) as source, path.open("xb") as sink:
                    while chunk := source.read(COPY_CHUNK_BYTES):
                        sink.write(chunk)
                self._spooled[layer.diff_id] = path
            return self._spooled[layer.diff_id]


def _skip(stream: BinaryIO, size: int) -> None:
    while size > 0 and (data := stream.read(min(size, COPY_CHUNK_BYTES))):
        size -= len(data)


def _read(stream: BinaryIO, size: int) -> bytes:
    """Read so much, or up to the end."""
    parts = []
    while size > 0 and (data := stream.read(min(size, COPY_CHUNK_BYTES))):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)
