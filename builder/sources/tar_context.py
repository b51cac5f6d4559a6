"""A build context that is a tar: read from where it lies through its table of contents, never extracted."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from tiffin.builder.errors import ContextError, CorruptError
from tiffin.builder.layer.compression.codecs import decompressor, sniff
from tiffin.builder.layer.index import LayerIndex
from tiffin.builder.layer.tar.fields import SNIFF_BYTES, looks_like_tar
from tiffin.builder.layer.unpack import index_layer
from tiffin.builder.sources.layer_files import open_packed
from tiffin.builder.sources.trees import LayerTree
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES
from tiffin.cache.foundation.files import disk_errors

EMPTY_ARCHIVE = bytes(SNIFF_BYTES)  # tar writes nothing but zeros where there are no files


def spooled(stream: BinaryIO, place: Path) -> Path:
    """Write `stream` to the new file `place`, decompressed if it is compressed."""
    packed = place.with_name(f"{place.name}.packed")
    with disk_errors(place), packed.open("xb") as sink:
        while data := stream.read(COPY_CHUNK_BYTES):
            sink.write(data)
    with packed.open("rb") as source:
        kind = sniff(source.read(SNIFF_BYTES))
        source.seek(0)
        if kind == "none":
            return packed
        try:
            with disk_errors(place), decompressor(source, kind) as plain, place.open("xb") as sink:
                while data := plain.read(COPY_CHUNK_BYTES):
                    sink.write(data)
        except CorruptError as exc:
            raise ContextError(f"the build context is damaged: {exc.message}", remedy="make the archive again") from exc
    packed.unlink()
    return place


def is_tar(path: Path) -> bool:
    """Whether the plain file `path` is a tar."""
    with path.open("rb") as stream:
        head = stream.read(SNIFF_BYTES)
    return looks_like_tar(head) or head == EMPTY_ARCHIVE


def tar_tree(path: Path, what: str) -> LayerTree:
    """Return the files of a plain tar as a context: all of them root's. Raises ContextError."""
    try:
        with path.open("rb") as stream:
            index = index_layer(stream)
    except CorruptError as exc:
        raise ContextError(f"{what} is damaged: {exc.message}", remedy="make the archive again") from exc
    entries = [entry._replace(uid=0, gid=0) for entry in index.entries if entry.kind != "whiteout"]
    return LayerTree([LayerIndex(entries)], lambda _, entry: open_packed(path, entry))
