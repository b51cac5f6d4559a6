"""A shared cache in memory."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO

from tiffin.cache.foundation.digest import Digest
from tiffin.cache.shared.protocol import SharedStore, UnavailableError
from tiffin.cache.store.snapshots import BlobRef


class MemoryStore(SharedStore):
    """Rows and blobs as long as it lives.

    One that `is_down` raises, one with `room` takes no larger blob; `broken` counts the calls that fail before one
    works.
    """

    name = "memory"
    place = "memory"

    def __init__(self, *, room: int = 1 << 30) -> None:
        self.rows: dict[str, bytes] = {}
        self.blobs: dict[Digest, bytes] = {}
        self.log: list[str] = []
        self.is_down = False
        self.broken = 0
        self.room = room
        self._lock = threading.Lock()

    def read(self, names: Sequence[str]) -> Mapping[str, bytes]:
        self._called("read")
        return {name: self.rows[name] for name in names if name in self.rows}

    def write(self, rows: Mapping[str, bytes]) -> None:
        self._called("write")
        self.rows.update(rows)

    def known(self, names: Sequence[str]) -> frozenset[str]:
        self._called("known")
        return frozenset(names) & self.rows.keys()

    def has_blob(self, ref: BlobRef) -> bool:
        self._called("has_blob")
        return ref.digest in self.blobs

    def read_blob(self, ref: BlobRef) -> BinaryIO | None:
        self._called("read_blob")
        return io.BytesIO(self.blobs[ref.digest]) if ref.digest in self.blobs else None

    def write_blob(self, ref: BlobRef, open_blob: Callable[[], BinaryIO]) -> bool:
        self._called("write_blob")
        if ref.size_bytes > self.room:
            return False
        with open_blob() as stream:
            self.blobs[ref.digest] = stream.read()
        return True

    def list_names(self) -> list[str]:
        return list(self.rows)

    def _called(self, what: str) -> None:
        with self._lock:
            self.log.append(what)
            fails, self.broken = self.broken > 0, max(0, self.broken - 1)
        if self.is_down or fails:
            raise UnavailableError("it is down", remedy="start it")
