"""Part of a file as a file of its own: a member of a plain tar, read from where it lies."""

from __future__ import annotations

import io
import os

from tiffin.builder.errors import CorruptError


class FileSlice(io.RawIOBase):
    """`size_bytes` bytes of an open file from `offset`, read without moving anybody's position. Closes its own fd."""

    def __init__(self, fd: int, offset: int, size_bytes: int) -> None:
        super().__init__()
        self._fd = fd
        self._start = self._position = offset
        self._end = offset + size_bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place in the part; there is nothing beyond its ends."""
        base = {os.SEEK_SET: self._start, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        self._position = max(self._start, min(base + offset, self._end))
        return self._position - self._start

    def tell(self) -> int:
        return self._position - self._start

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # io gives a writable buffer
        wanted = min(len(view), self._end - self._position)
        count = os.preadv(self._fd, [view[:wanted]], self._position) if wanted > 0 else 0
        if wanted > 0 and count == 0:
            raise CorruptError(
                "a packed layer ended before its index says", remedy="run tiffin system prune and rebuild"
            )
        self._position += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()
