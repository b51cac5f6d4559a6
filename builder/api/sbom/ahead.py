"""Layers that an SBOM will need, read while a RUN goes over them: then what is left at the end is what the last steps
brought.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from tiffin.builder.image.chain import Chain
from tiffin.builder.image.layers import LayerStore
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.statedir import StateDir


class ReadingAhead:
    """Reads layers in a thread of its own while it is open; used in `with`. What goes wrong there is not told: who
    makes the document reads what is missing, and meets it again.
    """

    def __init__(self, layers: LayerStore, state: StateDir) -> None:
        self._layers = layers
        self._state = state
        self._lock = threading.Lock()  # guards _asked
        self._asked: set[Digest] = set()
        self._pool = ThreadPoolExecutor(1, "packages")  # which has no thread before it is asked
        self._is_canceled = threading.Event()

    def __enter__(self) -> ReadingAhead:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is not None:
            self._is_canceled.set()
        self._pool.shutdown()

    def __call__(self, chain: Chain) -> None:
        """Have layers read that are unpacked; from any thread."""
        with self._lock:
            new = tuple(layer for layer in chain if layer.diff_id not in self._asked)
            self._asked |= {layer.diff_id for layer in new}
        if new:
            self._pool.submit(self._read, new)

    def _read(self, chain: Chain) -> None:
        from tiffin.builder.sbom.making import read_layers

        with self._state.scratch("sbom") as scratch:
            read_layers(chain, self._layers, scratch, self._is_canceled.is_set)
