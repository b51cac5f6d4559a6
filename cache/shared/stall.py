"""Streams from a network that may stall: reading ends with an error when too little comes for too long."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tiffin.cache.shared.protocol import UnavailableError

MIN_BYTES_PER_SECOND = 4096


class MinimumRateReader:
    """Reads `raw` (anything with `read1`, each call bounded by its own time limit), and gives up when `seconds` bring
    less than MIN_BYTES_PER_SECOND each. `close` ends the connection.
    """

    def __init__(self, raw: Any, close: Callable[[], None], seconds: float) -> None:
        self._raw = raw
        self._close = close
        self._seconds = seconds
        self._since = time.monotonic()
        self._bytes = 0

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; b"" at the end. Raises UnavailableError."""
        try:
            data: bytes = self._raw.read1(size if size >= 0 else None)
        except Exception as exc:  # each client has errors of its own, and all of them mean the same here
            raise UnavailableError("a layer could not be read to its end", remedy="it is made again") from exc
        self._bytes += len(data)
        elapsed = time.monotonic() - self._since
        if elapsed > self._seconds:
            if data and self._bytes < elapsed * MIN_BYTES_PER_SECOND:
                raise UnavailableError(
                    f"only {self._bytes} bytes came in {elapsed:.0f} s", remedy="raise timeout=, or leave it out"
                )
            self._since, self._bytes = time.monotonic(), 0
        return data

    def close(self) -> None:
        self._close()

    def __enter__(self) -> MinimumRateReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
