"""How far the tables of an image are, told by threads and shown by the screen."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from tiffin.builder.api.explore.image import ExploredLayer
from tiffin.builder.events import Event, Sink, Transfer
from tiffin.builder.plain_text import size_text

WAITING, READING, DONE = "waiting", "reading", "read"


class Progress:
    """Also the sink of whatever works for the screen: before it is there, events go to `first`."""

    def __init__(self, first: Sink) -> None:
        self.first: Sink | None = first
        self.is_wanted = True  # until the user leaves
        self._lock = threading.Lock()  # guards what follows
        self._states: dict[int, str] = {}
        self._began: dict[int, float] = {}
        self._bytes: dict[str, tuple[int, int]] = {}  # of transfers that run: done, total

    def begin(self) -> None:
        """Leave the telling to the screen."""
        self.first = None

    def leave(self) -> None:
        """Have what works for the user end."""
        self.is_wanted = False

    def emit(self, event: Event) -> None:
        """Take an event; what is still fetched for a user who has left ends here."""
        if self.first is not None:
            self.first.emit(event)
        if isinstance(event, Transfer):
            with self._lock:
                if event.finished:
                    self._bytes.pop(event.key, None)
                else:
                    self._bytes[event.key] = (event.done_bytes, event.total_bytes or 0)
        if not self.is_wanted:
            raise KeyboardInterrupt

    def reached(self, number: int, is_done: bool) -> None:
        """Note that a layer is begun, or done."""
        with self._lock:
            self._states[number] = DONE if is_done else READING
            self._began.setdefault(number, time.monotonic())

    def told(self, number: int, packed_bytes: int) -> str:
        """Return how far a layer is."""
        with self._lock:
            state = self._states.get(number, WAITING)
            if state == READING:
                for done, total in self._bytes.values():
                    if total == packed_bytes:
                        return f"{size_text(done)} / {size_text(total)}"
            since = f" {time.monotonic() - self._began[number]:.0f}s" if state == READING else ""
        return f"{state} {size_text(packed_bytes) if packed_bytes else ''}{since}"

    def summary(self, layers: Sequence[ExploredLayer]) -> str:
        """Return how far all are."""
        with self._lock:
            done = [layer for layer in layers if self._states.get(layer.number) == DONE]
            moved = sum(bytes for bytes, _ in self._bytes.values())
        total = sum(layer.packed_bytes for layer in layers)
        read = sum(layer.packed_bytes for layer in done) + moved
        return f"reading the tables of {len(layers)} layers: {len(done)} done, {size_text(read)} of {size_text(total)}"
