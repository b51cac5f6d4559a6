"""Root directories of steps where layers cannot be mounted over each other: a copy, kept from one RUN to the next.

A stage's next RUN, or that of a stage built on it, takes the root over and has only the layers in between put on top.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tiffin.builder.image.chain import Chain
from tiffin.builder.image.layers import LayerStore
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.statedir import StateDir

ROOT_MODE = 0o755


class CopiedRoot:
    """A directory that holds `layers`, lowest first, as one tree."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        self.layers: tuple[Digest, ...] = ()
        self.is_sound = False  # holds what `layers` says: not so while a step works in it
        self._stack = stack

    def accept(self, diff_id: Digest) -> None:
        """Record that what the step changed has become that layer."""
        self.layers = (*self.layers, diff_id)
        self.is_sound = True

    def remove(self) -> None:
        self._stack.close()


class CopiedRoots:
    """The roots of one build; thread-safe. `close` removes them."""

    def __init__(self, state: StateDir, layers: LayerStore) -> None:
        self._state = state
        self._layers = layers
        self._lock = threading.Lock()  # guards _idle
        self._idle: list[CopiedRoot] = []

    def close(self) -> None:
        with self._lock:
            for root in self._idle:
                root.remove()
            self._idle.clear()

    @contextmanager
    def take(self, chain: Chain) -> Iterator[CopiedRoot]:
        """Yield a root with the layers of `chain`. It is kept if the step's changes are accepted, else removed."""
        root = self._best(tuple(layer.diff_id for layer in chain))
        try:
            root.is_sound = False
            for layer in chain[len(root.layers) :]:
                self._layers.add_to_root((layer.diff_id, layer.blob), root.path)
                root.layers = (*root.layers, layer.diff_id)
            yield root
        finally:
            if root.is_sound:
                with self._lock:
                    self._idle.append(root)
            else:
                root.remove()

    def _best(self, wanted: tuple[Digest, ...]) -> CopiedRoot:
        """Return the idle root that has most of the layers, else a new one."""
        with self._lock:
            fitting = [root for root in self._idle if wanted[: len(root.layers)] == root.layers]
            if fitting:
                best = max(fitting, key=lambda root: len(root.layers))
                self._idle.remove(best)
                return best
        stack = ExitStack()
        path = stack.enter_context(self._state.scratch("root")) / "root"
        path.mkdir()
        path.chmod(ROOT_MODE)
        return CopiedRoot(path, stack)
