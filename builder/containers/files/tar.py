"""A copy as a tar: what `cp` writes to stdout and reads from stdin."""

from __future__ import annotations

from functools import partial
from typing import BinaryIO

from tiffin.builder.containers.files.contents import Item, Items
from tiffin.builder.errors import ContainerError, CorruptError, ImageError
from tiffin.builder.layer.byte_streams import ByteWriter
from tiffin.builder.layer.compression.codecs import decompressor
from tiffin.builder.layer.paths import ROOT
from tiffin.builder.layer.tar.reader import read_members
from tiffin.builder.layer.tar.writer import END_OF_ARCHIVE, header, padding

READ_BYTES = 1 << 20


def write_items(items: Items, top: str, sink: ByteWriter) -> None:
    """Write items as a tar whose top is called `top`, "." for ./NAME, "/" for /NAME. Raises StoreError."""
    for item in items:
        entry = item.entry
        if entry.kind == "hardlink":
            entry = entry._replace(link=_named(entry.link, top))
        name = _named(entry.path, top)
        sink.write(header(entry, f"{name.rstrip('/')}/" if entry.kind == "dir" else name))
        if item.open is not None:
            with item.open() as content:
                _copy(content, entry.size, sink)
            sink.write(padding(entry.size))
    sink.write(END_OF_ARCHIVE)


def _named(path: str, top: str) -> str:
    if path == ROOT:
        return top
    return f"{top.rstrip('/')}/{path}"


def _copy(content: BinaryIO, size: int, sink: ByteWriter) -> None:
    """Copy as many bytes as the header says; a file that became shorter meanwhile ends in zeros."""
    left = size
    while left and (data := content.read(min(left, READ_BYTES))):
        sink.write(data)
        left -= len(data)
    while left:
        data = bytes(min(left, READ_BYTES))
        sink.write(data)
        left -= len(data)


def read_items(stream: BinaryIO) -> Items:
    """Yield the members of a tar, compressed or not; nothing at all is an empty one. Raises ContainerError."""
    try:
        with decompressor(stream, "auto") as plain:
            for entry, content in read_members(plain):
                yield Item(entry, None if content is None else partial(_itself, content))
    except (CorruptError, ImageError) as exc:
        raise ContainerError(
            f"what was read is not a tar that can be unpacked: {exc.message}", remedy=exc.remedy
        ) from exc


def _itself(content: BinaryIO) -> BinaryIO:
    return content
