"""A sink of events that remembers them."""

from __future__ import annotations

import threading

from tiffin.builder.events import (
    Event,
    InfoMessage,
    StepCached,
    StepFailed,
    StepFinished,
    StepOutput,
    StepStarted,
    WarningMessage,
)


class RecordingSink:
    """Keeps every event in the order in which it came; from any thread, never raises (the Sink protocol)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        with self._lock:
            self.events.append(event)

    def started(self) -> list[str]:
        """The steps that began to work, by name."""
        return [event.name for event in self.events if isinstance(event, StepStarted)]

    def cached(self) -> list[tuple[str, str]]:
        """The steps that came from a cache, with its name."""
        return [(event.name, event.source) for event in self.events if isinstance(event, StepCached)]

    def ended(self) -> list[tuple[str, int]]:
        """How steps that began ended: `finished` or `failed`, by number."""
        kinds = {StepFinished: "finished", StepFailed: "failed"}
        return [
            (kinds[type(event)], event.step_id) for event in self.events if isinstance(event, StepFinished | StepFailed)
        ]

    def output(self) -> bytes:
        """What commands wrote, all together."""
        return b"".join(event.data for event in self.events if isinstance(event, StepOutput))

    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, WarningMessage)]

    def notes(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, InfoMessage)]
