"""The frames and blocks of a zstd stream (RFC 8878), cut apart without decompressing them.

A block holds 128 KiB of plain bytes at most, but may take only four: whoever decompresses a stream as it comes can be
made to hold 4 GiB for one read. Block by block it is 128 KiB. No compression library here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

READ_BYTES = 1 << 17
MAGIC = 0xFD2FB528
SKIPPABLE_FIRST, SKIPPABLE_LAST = 0x184D2A50, 0x184D2A5F
_DICTIONARY_ID_BYTES = (0, 1, 2, 4)
_CONTENT_SIZE_BYTES = (0, 2, 4, 8)
_RLE_BLOCK = 1


class _Source:
    """Gives exactly what is asked for."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._buffer = b""
        self._at = 0

    def is_at_end(self) -> bool:
        if self._at == len(self._buffer):
            self._buffer, self._at = self._stream.read(READ_BYTES), 0
        return not self._buffer

    def take(self, size: int) -> bytes:
        """Raise EOFError if there is less."""
        data = self._buffer[self._at : self._at + size]
        self._at += len(data)
        while len(data) < size:
            if self.is_at_end():
                raise EOFError("it ends too early")
            more = self._buffer[: size - len(data)]
            self._at = len(more)
            data += more
        return data


def frames(stream: BinaryIO) -> Iterator[Iterator[bytes]]:
    """Yield the frames of a stream, each as its parts; all parts of one must be read before the next is asked for.

    Skippable frames are left out. Raises EOFError for a stream that ends within a frame, ValueError for anything else.
    """
    source = _Source(stream)
    while not source.is_at_end():
        head = source.take(4)
        magic = int.from_bytes(head, "little")
        if SKIPPABLE_FIRST <= magic <= SKIPPABLE_LAST:
            left = int.from_bytes(source.take(4), "little")
            while left:
                left -= len(source.take(min(left, READ_BYTES)))
        elif magic == MAGIC:
            yield _parts(head, source)
        else:
            raise ValueError("it has bytes that belong to no frame")


def _parts(magic: bytes, source: _Source) -> Iterator[bytes]:
    """Yield the header, each block, the checksum."""
    descriptor = source.take(1)
    flags = descriptor[0]
    is_single, has_checksum = flags >> 5 & 1, flags >> 2 & 1
    size_bytes = _CONTENT_SIZE_BYTES[flags >> 6] or is_single
    yield magic + descriptor + source.take((not is_single) + _DICTIONARY_ID_BYTES[flags & 3] + size_bytes)
    is_last = False
    while not is_last:
        header = source.take(3)
        value = int.from_bytes(header, "little")
        is_last = bool(value & 1)
        yield header + source.take(1 if value >> 1 & 3 == _RLE_BLOCK else value >> 3)
    if has_checksum:
        yield source.take(4)
