"""Read a blob while it arrives: whoever unpacks a layer need not wait for its last byte.

The bytes are unverified until the fetch has ended, so what is made of them must not be kept before the block has ended.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from tiffin.builder.errors import StoreError
from tiffin.cache.foundation.workers import GRACE_SECONDS


class FetchObserver(Protocol):
    """Told how a fetch gets on. Both may raise to end it."""

    def begun(self, path: Path) -> None:
        """Receive the file that will grow from now on; called again for each new attempt."""

    def progressed(self) -> None:
        """Learn that the file has more bytes."""


class StreamingFetch:
    """One fetch in a thread of its own. As a context manager it gives the bytes, and ends when the fetch has.

    Leaving the block raises the fetch's own error, if there is one: it says more than what it led to here.
    """

    def __init__(self, fetch: Callable[[FetchObserver], None], finished: Path) -> None:
        self._fetch = fetch
        self._finished = finished  # where the blob is if it came without being followed
        self._changed = threading.Condition()  # guards all below
        self._path: Path | None = None
        self._attempts = 0
        self._done = False
        self._abandoned = False
        self._error: BaseException | None = None
        self._stream: io.FileIO | None = None
        self._thread = threading.Thread(target=self._run, name="fetch", daemon=True)

    @property
    def restarted(self) -> bool:
        """Whether the fetch was begun anew, so that what was read may not be what is in the store now."""
        return self._attempts > 1

    def __enter__(self) -> BinaryIO:
        self._thread.start()
        return cast(BinaryIO, self)  # as far as a decompressor uses one

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._changed:
            self._abandoned = kind is not None and not issubclass(kind, Exception)  # Ctrl-C
        self._thread.join(GRACE_SECONDS if self._abandoned else None)
        if self._stream is not None:
            self._stream.close()
        if self._error is not None and not self._abandoned:
            raise self._error

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes as soon as there are some; none only at the end of a fetch that went well."""
        stream = self._opened()
        while True:
            with self._changed:
                done = self._done
            data = stream.read(size)
            if data:
                return data
            if done:
                if self._error is not None:
                    raise StoreError("the layer did not arrive", remedy="try again") from self._error
                return b""
            with self._changed:
                self._changed.wait_for(lambda: self._done or os.fstat(stream.fileno()).st_size > stream.tell())

    def _opened(self) -> io.FileIO:
        if self._stream is None:
            with self._changed:
                self._changed.wait_for(lambda: self._path is not None or self._done)
                path = self._path
            with contextlib.suppress(FileNotFoundError):  # it may have got its final name, or failed, meanwhile
                self._stream = io.FileIO(os.fspath(path or self._finished), "r")
        if self._stream is None:
            with self._changed:
                self._changed.wait_for(lambda: self._done)
            if self._error is not None:
                raise StoreError("the layer did not arrive", remedy="try again") from self._error
            self._stream = io.FileIO(os.fspath(self._finished), "r")
        return self._stream

    def begun(self, path: Path) -> None:
        with self._changed:
            self._path = self._path or path
            self._attempts += 1
            self._changed.notify_all()

    def progressed(self) -> None:
        with self._changed:
            if self._abandoned:
                raise InterruptedError("abandoned")
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            self._fetch(self)
        except BaseException as exc:  # handed to the reading thread
            self._error = exc
        with self._changed:
            self._done = True
            self._changed.notify_all()
