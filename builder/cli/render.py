"""Progress on stderr: plain lines as BuildKit writes them, JSON lines, or nothing. The live view is render_tty."""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import asdict
from typing import TextIO

from builder.cli.renderer import Renderer, size_text
from builder.events import (
    Event,
    Noted,
    StepCached,
    StepFailed,
    StepFinished,
    StepOutput,
    StepStarted,
    Transfer,
    Warned,
)

TRANSFER_INTERVAL_SECONDS = 1.0


def make_renderer(progress: str) -> Renderer:
    """The renderer for --progress; auto is the live view on a terminal, plain lines elsewhere."""
    if progress == "auto":
        progress = "tty" if sys.stderr.isatty() else "plain"
    if progress == "tty":
        from builder.cli.render_tty import LiveRenderer

        return LiveRenderer()
    if progress == "json":
        return JsonRenderer(sys.stderr)
    return PlainRenderer(sys.stderr) if progress == "plain" else QuietRenderer(sys.stderr)


class QuietRenderer(Renderer):
    """Warnings only."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def emit(self, event: Event) -> None:
        if isinstance(event, Warned):
            _write(self._stream, _warning(event))


class JsonRenderer(Renderer):
    """One JSON object a line: `event`, `time` (Unix seconds), and the event's members; output as text."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()  # keeps lines whole

    def emit(self, event: Event) -> None:
        members = asdict(event)
        if isinstance(event, StepOutput):
            members["data"] = event.data.decode("utf-8", "replace")
        line = json.dumps({"event": type(event).__name__, "time": round(time.time(), 3), **members})
        with self._lock:
            _write(self._stream, line + "\n")


class PlainRenderer(Renderer):
    """`#3 [stage 1/2] RUN make`, `#3 0.120 output`, `#3 DONE 1.2s`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()  # guards what follows and keeps lines whole
        self._started: dict[int, float] = {}
        self._rest: dict[tuple[int, int], bytes] = {}
        self._transfers: dict[str, float] = {}

    def emit(self, event: Event) -> None:
        with self._lock:
            text = self._text(event)
            if text:
                _write(self._stream, text)

    def _text(self, event: Event) -> str:
        match event:
            case StepStarted():
                self._started[event.step_id] = time.monotonic()
                return f"#{event.step_id} {event.name}\n"
            case StepCached():
                source = "" if event.source == "local" else f" ({event.source})"
                return f"#{event.step_id} {event.name}\n#{event.step_id} CACHED{source}\n"
            case StepOutput():
                return self._output(event)
            case StepFinished():
                return self._flush(event.step_id) + f"#{event.step_id} DONE {event.seconds:.1f}s\n"
            case StepFailed():
                return self._flush(event.step_id) + f"#{event.step_id} ERROR: {event.message}\n"
            case Transfer():
                return self._transfer(event)
            case Warned():
                return _warning(event)
            case Noted():
                return f"{event.message}\n"

    def _output(self, event: StepOutput) -> str:
        key = (event.step_id, event.stream)
        *lines, self._rest[key] = (self._rest.get(key, b"") + event.data).split(b"\n")
        return "".join(self._line(event.step_id, line) for line in lines)

    def _flush(self, step_id: int) -> str:
        rests = [self._rest.pop((step_id, stream), b"") for stream in (1, 2)]
        return "".join(self._line(step_id, rest) for rest in rests if rest)

    def _line(self, step_id: int, line: bytes) -> str:
        seconds = time.monotonic() - self._started.get(step_id, time.monotonic())
        return f"#{step_id} {seconds:.3f} {line.decode('utf-8', 'replace').rstrip()}\n"

    def _transfer(self, event: Transfer) -> str:
        now = time.monotonic()
        if event.finished:
            note = event.note or "done"
            return f"{event.label} {size_text(event.total_bytes or event.done_bytes)} {note}\n"
        if now - self._transfers.setdefault(event.key, now) < TRANSFER_INTERVAL_SECONDS:
            return ""
        self._transfers[event.key] = now
        total = f" / {size_text(event.total_bytes)}" if event.total_bytes is not None else ""
        return f"{event.label} {size_text(event.done_bytes)}{total}\n"


def _warning(event: Warned) -> str:
    where = f"{event.where}: " if event.where else ""
    return f"warning: {where}{event.message}\n"


def _write(stream: TextIO, text: str) -> None:
    """A sink never raises: a closed stderr ends no build."""
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        return
