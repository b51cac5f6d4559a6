"""Plain progress in sections that a job's log folds, one for each step that ran.

Sections cannot be interleaved, and stages run at the same time. So one step at a time is written as it goes, and the
others are held back until it ends; one that holds back too much gets its turn in the middle.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import BinaryIO

from tiffin.builder.cli.output.plain.step_lines import COLOURED, NONE, StepLines, line_of, warning_line, write
from tiffin.builder.cli.output.renderer import Renderer
from tiffin.builder.events import (
    BuildFinished,
    Event,
    InfoMessage,
    StepCached,
    StepFailed,
    StepFinished,
    StepOutput,
    StepStarted,
    WarningMessage,
)
from tiffin.cache.foundation.typing_shim import Protocol

MAX_HELD_BYTES = 1 << 20  # of a step that waits for its turn


class Folding(Protocol):
    """How one kind of log folds."""

    def begin(self, number: int, title: str) -> bytes:
        """Return what begins a section; `number` is unique in the command."""

    def end(self, number: int) -> bytes:
        """Return what ends it."""

    def safe(self, lines: bytes) -> bytes:
        """Return lines so that nothing in them is a command to whoever reads the log."""

    def annotate(self, event: WarningMessage) -> bytes:
        """Return what shows a warning beside the file it is about; nothing where the log has no such thing."""

    def finish(self, event: BuildFinished, steps: Sequence[tuple[str, float]]) -> None:
        """Tell what was built, and how long each step took, wherever else that is shown."""


class _Step:
    """A step that began. `held` are its lines until it has its turn; `last` is its last line once it ended."""

    def __init__(self, step_id: int, name: str) -> None:
        self.id = step_id
        self.name = name
        self.held: list[bytes] = []
        self.held_bytes = 0
        self.last = b""
        self.turns = 0


class SectionRenderer(Renderer):
    """Writes as PlainRenderer does, each step in one piece."""

    def __init__(self, stream: BinaryIO, folding: Folding, *, colours: bool) -> None:
        self._stream = stream
        self._folding = folding
        self._lock = threading.Lock()  # guards what follows and keeps sections whole
        self._lines = StepLines(COLOURED if colours else NONE)
        self._steps: dict[int, _Step] = {}  # in the order they began
        self._shown: _Step | None = None  # whose section is open
        self._section = 0
        self._notes: list[bytes] = []  # to be told between sections
        self._times: list[tuple[str, float]] = []

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._close()
            for step in self._steps.values():
                self._open(step)
                self._close()
            self._steps.clear()
            self._tell_notes()

    def emit(self, event: Event) -> None:
        with self._lock:
            self._take(event)

    def _take(self, event: Event) -> None:
        match event:
            case StepStarted():
                self._steps[event.step_id] = _Step(event.step_id, event.title)
                self._lines.begin(event.step_id)
                self._next()
            case StepOutput():
                self._add(self._steps.get(event.step_id), self._lines.output(event))
            case StepFinished() | StepFailed():
                self._end(event)
            case StepCached():
                self._note(self._folding.safe(line_of(f"#{event.step_id} {event.title}")) + self._lines.last(event))
            case WarningMessage():
                self._note(self._folding.safe(warning_line(event)) + self._folding.annotate(event))
            case InfoMessage():
                self._note(self._folding.safe(line_of(event.message)))
            case BuildFinished():
                self._note(self._folding.safe(self._lines.other(event)))
                self._folding.finish(event, self._times)
            case _:
                write(self._stream, self._folding.safe(self._lines.other(event)))

    def _add(self, step: _Step | None, lines: bytes) -> None:
        if step is None or not lines:
            return
        if step is self._shown:
            write(self._stream, self._folding.safe(lines))
            return
        step.held.append(lines)
        step.held_bytes += len(lines)
        if step.held_bytes > MAX_HELD_BYTES:
            self._close()
            self._open(step)

    def _end(self, event: StepFinished | StepFailed) -> None:
        step = self._steps.get(event.step_id)
        self._add(step, self._lines.rests(event.step_id))
        if step is None:
            return
        step.last = self._lines.last(event)
        self._times.append((step.name, event.seconds))
        if step is self._shown:
            self._close()
            self._next()

    def _next(self) -> None:
        """Write what ended meanwhile, then open the section of the first step that still runs."""
        if self._shown is not None:
            return
        for step in [step for step in self._steps.values() if step.last]:
            self._open(step)
            self._close()
        self._tell_notes()
        for step in self._steps.values():
            self._open(step)
            return

    def _open(self, step: _Step) -> None:
        self._section += 1
        title = f"#{step.id} {step.name}" + (" (continued)" if step.turns else "")
        step.turns += 1
        held, step.held, step.held_bytes = b"".join(step.held), [], 0
        write(self._stream, self._folding.begin(self._section, title) + self._folding.safe(held))
        self._shown = step

    def _close(self) -> None:
        step, self._shown = self._shown, None
        if step is None:
            return
        write(self._stream, self._folding.end(self._section) + self._folding.safe(step.last))
        if step.last:
            del self._steps[step.id]

    def _note(self, lines: bytes) -> None:
        self._notes.append(lines)
        if self._shown is None:
            self._tell_notes()

    def _tell_notes(self) -> None:
        notes, self._notes = self._notes, []
        write(self._stream, b"".join(notes))
