"""What every renderer is."""

from __future__ import annotations

from contextlib import AbstractContextManager

from builder.events import Event, Sink


class Renderer(Sink, AbstractContextManager["Renderer"]):
    """A sink that may hold a terminal; used in `with`."""

    def emit(self, event: Event) -> None:
        raise AssertionError("abstract")

    def __exit__(self, *_: object) -> None:
        return None
