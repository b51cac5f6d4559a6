"""What every renderer is, and how sizes are written."""

from __future__ import annotations

from contextlib import AbstractContextManager

from builder.events import Event, Sink


class Renderer(Sink, AbstractContextManager["Renderer"]):
    """A sink that may hold a terminal; used in `with`."""

    def emit(self, event: Event) -> None:
        raise AssertionError("abstract")

    def __exit__(self, *_: object) -> None:
        return None


def size_text(size: int) -> str:
    """A size in Docker's units: 1.23MB is 1.23 million bytes."""
    value, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.3g}{units[0]}" if value < 1000 else f"{value:.0f}{units[0]}"
