"""Read a stream in another thread, a few chunks ahead: decompressing and hashing then run beside writing."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import BinaryIO, cast

CHUNK_BYTES = 1 << 22  # each chunk waits for the interpreter lock, so few large ones
CHUNKS_AHEAD = 3


@contextlib.contextmanager
def read_ahead(stream: BinaryIO) -> Iterator[BinaryIO]:
    """Yield a reader of `stream`, which belongs to the other thread until the block ends.

    Its errors are raised by `read`.

    `read(n)` gives any number of bytes up to a chunk, none only at the end.
    """
    ahead = _ReadAhead(stream)
    try:
        yield cast(BinaryIO, ahead)  # as far as a tar reader uses one
    finally:
        ahead.stop()


class _ReadAhead:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._queue: queue.Queue[bytes | BaseException] = queue.Queue(CHUNKS_AHEAD)
        self._stopping = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self._thread.start()

    def read(self, size: int = -1, /) -> bytes:
        """Return the next chunk, whatever `size` says."""
        if self._ended:
            return b""
        item = self._queue.get()
        if isinstance(item, BaseException):
            self._ended = True
            raise item
        self._ended = not item
        return item

    def stop(self) -> None:
        """End the thread, wherever it is."""
        self._stopping = True
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._queue.get_nowait()
            self._thread.join(0.01)

    def _run(self) -> None:
        try:
            while not self._stopping:
                data = self._stream.read(CHUNK_BYTES)
                self._queue.put(data)
                if not data:
                    return
        except BaseException as exc:  # handed to the reading thread
            self._queue.put(exc)
