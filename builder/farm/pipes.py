"""Frames between a worker and the process that makes a unit: eight bytes of length, big-endian, and so many bytes."""

from __future__ import annotations

import struct
from typing import BinaryIO

_LENGTH = struct.Struct(">Q")
MAX_FRAME_BYTES = 1 << 30


def write_frame(stream: BinaryIO, data: bytes) -> None:
    """Write one frame; `stream` is not buffered."""
    left = memoryview(_LENGTH.pack(len(data)) + data)
    while left:
        left = left[stream.write(left) :]


def read_frame(stream: BinaryIO) -> bytes | None:
    """Return the next frame, None where the stream ends, within one or before it."""
    head = _exactly(stream, _LENGTH.size)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    return None if length > MAX_FRAME_BYTES else _exactly(stream, length)


def _exactly(stream: BinaryIO, count: int) -> bytes | None:
    parts = []
    while count:
        data = stream.read(min(count, 1 << 20))
        if not data:
            return None
        parts.append(data)
        count -= len(data)
    return b"".join(parts)
