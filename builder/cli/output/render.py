"""Progress on stderr: plain lines as BuildKit writes them, JSON lines, or nothing. The live view is render_tty."""

from __future__ import annotations

import codecs
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, TextIO

from tiffin.builder.cli.output.plain.step_lines import (
    ALL,
    NONE,
    StepLines,
    line_of,
    warning_line,
    write,
)
from tiffin.builder.cli.output.renderer import GITHUB, GITLAB, Renderer
from tiffin.builder.events import (
    TYPE_NAMES,
    Event,
    PhaseFinished,
    StepCached,
    StepFailed,
    StepFinished,
    StepOutput,
    StepsPlanned,
    StepStarted,
    WarningMessage,
    members_of,
)
from tiffin.cache.foundation import json_text

if TYPE_CHECKING:
    from tiffin.builder.cli.output.live.planned import LastTimes


def make_renderer(progress: str, stream: TextIO | None = None, *, last_times: LastTimes | None = None) -> Renderer:
    """Return the renderer for --progress on `stream` (stderr); auto is the live view on a terminal, plain lines
    elsewhere. `last_times` tells the live view how long steps took before.
    """
    stream = stream or sys.stderr
    if progress in ("auto", "tty"):
        progress = "tty" if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" else "plain"
    if progress == "tty":
        from tiffin.builder.cli.output.render_tty import LiveRenderer

        return LiveRenderer(stream, os.environ, last_times)
    if progress == "json":
        return JsonRenderer(_binary(stream))
    if progress != "plain":
        return QuietRenderer(_binary(stream))
    return _job_renderer(stream) or PlainRenderer(_binary(stream), ALL if stream.isatty() else NONE)


def traced(renderer: Renderer, command: str) -> Renderer:
    """Return a renderer that sends spans as well, where the environment names a collector of OpenTelemetry."""
    if not any(name.startswith("OTEL_EXPORTER_OTLP_") for name in os.environ):
        return renderer
    from tiffin.builder.cli.output.timings.traces import TraceExporter, wants_traces

    return TraceExporter(renderer, command, os.environ) if wants_traces(os.environ) else renderer


def _job_renderer(stream: TextIO) -> Renderer | None:
    """Return what folds the log of the job that this is, if it is one."""
    if os.environ.get(GITHUB) == "true":
        from tiffin.builder.cli.output.plain.github import github_renderer

        return github_renderer(_binary(stream), os.environ)
    if os.environ.get(GITLAB) == "true":
        from tiffin.builder.cli.output.plain.gitlab import gitlab_renderer

        return gitlab_renderer(_binary(stream), os.environ)
    return None


class QuietRenderer(Renderer):
    """Warnings only."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def emit(self, event: Event) -> None:
        if isinstance(event, WarningMessage) and not event.rule:
            write(self._stream, warning_line(event))


class JsonRenderer(Renderer):
    """One JSON object a line: `type` ("step_started", …), `time` (Unix seconds), and the event's members.

    `data` of step_output is text; a character cut by the end of an event is held back for the next.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()  # keeps lines whole, and guards the decoders
        self._decoders: dict[tuple[int, int], codecs.IncrementalDecoder] = {}

    def emit(self, event: Event) -> None:
        if isinstance(event, PhaseFinished | StepsPlanned):  # for what is drawn, and measured
            return
        members = members_of(event)
        with self._lock:
            if isinstance(event, StepOutput):
                members["data"] = self._decoder(event).decode(event.data)
            line = json_text.dumps({"type": TYPE_NAMES[type(event)], "time": round(time.time(), 3), **members})
            write(self._stream, f"{line}\n".encode())

    def _decoder(self, event: StepOutput) -> codecs.IncrementalDecoder:
        key = (event.step_id, event.stream)
        if key not in self._decoders:
            self._decoders[key] = codecs.getincrementaldecoder("utf-8")("replace")
        return self._decoders[key]


class PlainRenderer(Renderer):
    """One line after the other; `controls`: what output of commands may have besides text."""

    def __init__(
        self, stream: BinaryIO, controls: str = ALL, clock: Callable[[], float] = lambda: time.monotonic()
    ) -> None:
        self._stream = stream
        self._lock = threading.Lock()  # guards what follows and keeps lines whole
        self._lines = StepLines(controls, clock)
        self._has_steps = False

    def emit(self, event: Event) -> None:
        with self._lock:
            write(self._stream, self._text(event))

    def _text(self, event: Event) -> bytes:
        match event:
            case StepStarted():
                self._lines.begin(event.step_id)
                return self._heading(event)
            case StepCached():
                return self._heading(event) + self._lines.last(event)
            case StepOutput():
                return self._lines.output(event)
            case StepFinished() | StepFailed():
                return self._lines.rests(event.step_id) + self._lines.last(event)
            case _:
                return self._lines.other(event)

    def _heading(self, event: StepStarted | StepCached) -> bytes:
        """Return a step's first line, set off from what is before."""
        gap = b"\n" if self._has_steps else b""
        self._has_steps = True
        return gap + line_of(f"#{event.step_id} {event.title}")


def _binary(stream: TextIO) -> BinaryIO:
    """Return the bytes below a text stream, nothing left between them."""
    stream.flush()
    return stream.buffer
