"""The progress of several builds as that of one command."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator

from tiffin.builder.errors import CANCELED
from tiffin.builder.events import (
    BuildFinished,
    Event,
    InfoMessage,
    Sink,
    StepCached,
    StepFailed,
    StepFinished,
    StepOutput,
    StepsPlanned,
    StepStarted,
    Transfer,
    WarningMessage,
)
from tiffin.cache.foundation.frozen import replace


class Numbers:
    """Numbers of steps, unique in the command."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def next(self) -> int:
        """Return a number that no step has."""
        with self._lock:
            return next(self._numbers)


class TargetSink:
    """Passes on the events of one target, under its name; while it `holds` them, they wait until a step works.

    Once all `is_over`, what fails was stopped.
    """

    def __init__(
        self,
        sink: Sink,
        numbers: Numbers,
        name: str,
        *,
        holds: bool = False,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        self._sink = sink
        self._numbers = numbers
        self._name = name
        self._is_over = is_over
        self._ids: dict[int, int] = {}
        self._lock = threading.Lock()
        self._held: list[Event] | None = [] if holds else None

    def emit(self, event: Event) -> None:
        """Receive an event."""
        with self._lock:
            if self._held is not None and isinstance(event, (StepStarted, Transfer)):
                self._release()
            if self._held is not None:
                self._held.append(event)
            else:
                self._pass_on(event)

    def release(self) -> None:
        """Pass on what waits, and what follows."""
        with self._lock:
            self._release()

    def _release(self) -> None:
        held, self._held = self._held or [], None
        for event in held:
            self._pass_on(event)

    def _pass_on(self, event: Event) -> None:
        for one in self._renamed(event):
            self._sink.emit(one)

    def _renamed(self, event: Event) -> Iterator[Event]:
        match event:
            case StepsPlanned():
                yield replace(event, names=tuple(map(self._step_name, event.names)))
            case StepStarted() | StepCached():
                name = self._step_name(event.name)
                needs = tuple(self._ids[number] for number in event.needs if number in self._ids)
                yield replace(event, step_id=self._id(event.step_id), name=name, needs=needs)
            case StepFailed() if self._is_over():
                yield replace(event, step_id=self._id(event.step_id), message=CANCELED)
            case StepOutput() | StepFinished() | StepFailed():
                yield replace(event, step_id=self._id(event.step_id))
            case Transfer():
                yield replace(event, key=f"{self._name} {event.key}", label=f"{self._name}: {event.label}")
            case InfoMessage() | WarningMessage():
                yield replace(event, message=f"{self._name}: {event.message}")
            case BuildFinished() if not event.names:
                yield replace(event, names=(self._name,))
            case _:
                yield event

    def _step_name(self, name: str) -> str:
        return f"[{self._name} {name[1:]}" if name.startswith("[") else f"{self._name}: {name}"

    def _id(self, step_id: int) -> int:
        if step_id not in self._ids:
            self._ids[step_id] = self._numbers.next()
        return self._ids[step_id]
