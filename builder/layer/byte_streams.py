"""What layers are read from and written to: anything with `read` or `write`."""

from __future__ import annotations

from tiffin.cache.foundation.typing_shim import Protocol


class ByteReader(Protocol):
    """A source of bytes; `read` returns up to `size` of them, and none only at the end."""

    def read(self, size: int = -1, /) -> bytes: ...


class ByteWriter(Protocol):
    """A destination of bytes; `write` takes all of `data`."""

    def write(self, data: bytes, /) -> object: ...
