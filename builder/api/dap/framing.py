"""Messages of the Debug Adapter Protocol on a stream: JSON after headers that say how long it is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from tiffin.builder.errors import UsageError

BLOCK_BYTES = 1 << 16
MAX_HEADER_BYTES, MAX_MESSAGE_BYTES = 4 << 10, 64 << 20
_END = b"\r\n\r\n"
_LENGTH = "content-length"


class Incoming:
    """What arrives at a descriptor, message by message."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.ended = False
        self._data = bytearray()

    def read(self) -> Iterator[dict[str, Any]]:
        """Read once, and yield the messages that are whole. Raises UsageError for anything else."""
        data = os.read(self.fd, BLOCK_BYTES)
        self.ended = not data
        self._data += data
        while (message := self._next()) is not None:
            yield message

    def _next(self) -> dict[str, Any] | None:
        end = self._data.find(_END)
        if end < 0:
            if len(self._data) > MAX_HEADER_BYTES:
                raise _no_message("a header is too long")
            return None
        length = _length_of(bytes(self._data[:end]))
        begin = end + len(_END)
        if len(self._data) < begin + length:
            return None
        body = bytes(self._data[begin : begin + length])
        del self._data[: begin + length]
        try:
            message = json.loads(body)
        except ValueError as exc:
            raise _no_message(str(exc)) from exc
        if not isinstance(message, dict):
            raise _no_message("it is not a JSON object")
        return message


def _length_of(header: bytes) -> int:
    for line in header.decode("ascii", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == _LENGTH and value.strip().isdecimal() and int(value) <= MAX_MESSAGE_BYTES:
            return int(value)
    raise _no_message("it has no Content-Length")


def _no_message(reason: str) -> UsageError:
    return UsageError(
        f"what came is not a valid message of the Debug Adapter Protocol: {reason}",
        remedy="have an editor start tiffin dap",
    )


def write(fd: int, message: Mapping[str, object]) -> None:
    """Write a message. Raises OSError."""
    body = json.dumps(message).encode()
    data = memoryview(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    while data:
        data = data[os.write(fd, data) :]
