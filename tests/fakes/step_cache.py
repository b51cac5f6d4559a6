"""A cache of step records in memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from tiffin.cache.backend import StepRecord
from tiffin.cache.errors import StoreError
from tiffin.cache.foundation.digest import Digest


class MemoryCache:
    """Keeps records as long as it lives (the StepCache protocol); `questions` are the keys of each look-up."""

    def __init__(self, name: str = "local") -> None:
        self._name = name
        self._lock = threading.Lock()
        self.records: dict[Digest, bytes] = {}
        self.requests: list[tuple[Digest, ...]] = []
        self.is_down = False

    @property
    def name(self) -> str:
        return self._name

    def get_many(self, keys: Sequence[Digest]) -> Mapping[Digest, StepRecord]:
        with self._lock:
            self.requests.append(tuple(keys))
            if self.is_down:
                raise StoreError(f"the cache {self._name} cannot be asked", remedy="try again")
            return {key: StepRecord.decode(self.records[key]) for key in keys if key in self.records}

    def put(self, key: Digest, record: StepRecord) -> None:
        with self._lock:
            self.records[key] = record.encode()  # as others keep it: bytes, and parts shortened
