"""Sparse files in tar: GNU's old form, PAX 0.0, 0.1 and 1.0. Read only: tiffin writes files whole."""

from __future__ import annotations

import io
from collections.abc import Callable

from tiffin.builder.errors import CorruptError
from tiffin.builder.layer.byte_streams import ByteReader
from tiffin.builder.layer.tar.fields import decimal, number

BLOCK_BYTES = 512
MAX_PARTS = 1 << 20  # of one file; GNU tar writes one for each hole
MAX_MAP_BYTES = 44 * MAX_PARTS  # two numbers of 21 digits and a newline for each part
ZEROS_BYTES = 1 << 20
Parts = list[tuple[int, int]]  # offset in the file, length; in order


def header_parts(
    kind: bytes, block: bytes, records: dict[str, bytes], take: Callable[[int], bytes]
) -> tuple[Parts, int] | None:
    """Return the parts and full size of a file whose map stands in its headers; None for any other file."""
    if "GNU.sparse.map" in records:
        numbers = [decimal(item) for item in records["GNU.sparse.map"].split(b",") if item]
        size = decimal(records.get("GNU.sparse.size", b"0"))
        return _checked(numbers, size), size
    if kind != b"S":
        return None
    numbers = _pairs(block, 386, 4)
    extended = block[482:483] not in (b"\0", b"0")
    while extended:
        more = take(BLOCK_BYTES)
        numbers += _pairs(more, 0, 21)
        extended = more[504:505] not in (b"\0", b"0")
        if len(numbers) > 2 * MAX_PARTS:
            raise _too_many()
    size = number(block[483:495])
    return _checked(numbers, size), size


def data_parts(records: dict[str, bytes], take: Callable[[int], bytes]) -> tuple[Parts, int, int] | None:
    """Return, for PAX 1.0, the parts, the full size, and the bytes of a map that stands before the content; else
    None.
    """
    if records.get("GNU.sparse.major") != b"1":
        return None
    size = decimal(records.get("GNU.sparse.realsize", b"0"))
    buffer = bytearray()
    lines = 0
    wanted = 1
    while lines < wanted:
        block = take(BLOCK_BYTES)
        buffer += block
        if len(buffer) > MAX_MAP_BYTES:
            raise _too_many()
        if not lines and b"\n" in block:
            count = decimal(bytes(buffer[: buffer.index(b"\n")]))
            if count > MAX_PARTS:
                raise _too_many()
            wanted = 1 + 2 * count
        lines += block.count(b"\n")
    numbers = [decimal(line) for line in bytes(buffer).split(b"\n")[1:wanted]]
    return _checked(numbers, size), size, len(buffer)


def _pairs(block: bytes, start: int, count: int) -> list[int]:
    numbers = []
    for offset in range(start, start + 24 * count, 24):
        pair = block[offset : offset + 24]
        if any(pair):
            numbers += [number(pair[:12]), number(pair[12:])]
    return numbers


def _checked(numbers: list[int], size: int) -> Parts:
    if len(numbers) % 2:
        raise CorruptError("a layer's tar has a malformed sparse file", remedy="it is damaged or hostile")
    parts = list(zip(numbers[::2], numbers[1::2], strict=True))
    end = 0
    for start, length in parts:
        if start < end or length < 0 or start + length > size:
            raise CorruptError("a layer's tar has a malformed sparse file", remedy="it is damaged or hostile")
        end = start + length
    return [part for part in parts if part[1]]


def _too_many() -> CorruptError:
    return CorruptError("a layer's tar has a sparse file of too many parts", remedy="it is damaged or hostile")


class SparseContent(io.RawIOBase):
    """A sparse file's content with its holes as zeros."""

    def __init__(self, content: ByteReader, parts: Parts, size: int) -> None:
        super().__init__()
        self._content = content
        self._parts = iter(parts)
        self._start, self._end = next(self._parts, (size, 0))
        self._end += self._start
        self._position = 0
        self._size = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._size - self._position if size < 0 else min(size, self._size - self._position)
        if wanted <= 0:
            return b""
        while self._position >= self._end and self._start < self._size:
            start, length = next(self._parts, (self._size, 0))
            self._start, self._end = start, start + length
        if self._position < self._start:
            data = bytes(min(wanted, ZEROS_BYTES, self._start - self._position))
        else:
            data = self._content.read(min(wanted, self._end - self._position))
        self._position += len(data)
        return data
