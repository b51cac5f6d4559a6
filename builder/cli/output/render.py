"""Progress on stderr: plain lines as BuildKit writes them, JSON lines, or nothing. The live view is render_tty."""

from __future__ import annotations

import codecs
import json
import os
import re
import sys
import threading
import time
from typing import BinaryIO, TextIO

from tiffin.builder.cli.output.renderer import Renderer
from tiffin.builder.errors import CANCELED
from tiffin.builder.events import (
    Event,
    InfoMessage,
    PhaseFinished,
    ResourceChanged,
    StepCached,
    StepFailed,
    StepFinished,
    StepOutput,
    StepStarted,
    Transfer,
    WarningMessage,
)
from tiffin.builder.plain_text import size_text

TRANSFER_INTERVAL_SECONDS = 1.0  # between two lines about one transfer
MAX_LINE_BYTES = 1 << 16  # a longer one is shown in parts: memory stays bounded
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")
_JSON_TYPES = {
    InfoMessage: "noted",
    WarningMessage: "warned",
}  # names that programs read since before the classes had theirs


def make_renderer(progress: str, stream: TextIO | None = None) -> Renderer:
    """Return the renderer for --progress on `stream` (stderr); auto is the live view on a terminal, plain lines
    elsewhere.
    """
    stream = stream or sys.stderr
    if progress in ("auto", "tty"):
        progress = "tty" if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" else "plain"
    if progress == "tty":
        from tiffin.builder.cli.output.render_tty import LiveRenderer

        return LiveRenderer(stream)
    if progress == "json":
        return JsonRenderer(_binary(stream))
    return PlainRenderer(_binary(stream)) if progress == "plain" else QuietRenderer(_binary(stream))


class QuietRenderer(Renderer):
    """Warnings only."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def emit(self, event: Event) -> None:
        if isinstance(event, WarningMessage) and not event.rule:
            _write(self._stream, _warning(event))


class JsonRenderer(Renderer):
    """One JSON object a line: `type` ("step_started", …), `time` (Unix seconds), and the event's members.

    `data` of step_output is text; a character cut by the end of an event is held back for the next.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()  # keeps lines whole, and guards the decoders
        self._decoders: dict[tuple[int, int], codecs.IncrementalDecoder] = {}

    def emit(self, event: Event) -> None:
        if isinstance(event, PhaseFinished):
            return
        kind = _JSON_TYPES.get(type(event)) or _CAPITAL.sub("_", type(event).__name__).lower()
        members: dict[str, object] = {name: getattr(event, name) for name in event.__slots__}
        with self._lock:
            if isinstance(event, StepOutput):
                members["data"] = self._decoder(event).decode(event.data)
            line = json.dumps({"type": kind, "time": round(time.time(), 3), **members})
            _write(self._stream, f"{line}\n".encode())

    def _decoder(self, event: StepOutput) -> codecs.IncrementalDecoder:
        key = (event.step_id, event.stream)
        if key not in self._decoders:
            self._decoders[key] = codecs.getincrementaldecoder("utf-8")("replace")
        return self._decoders[key]


class PlainRenderer(Renderer):
    """`#3 [stage 1/2] RUN make`, `#3 0.120 output`, `#3 DONE 1.2s`; output bytes as they come, but for the prefix."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()  # guards what follows and keeps lines whole
        self._started: dict[int, float] = {}
        self._rest: dict[tuple[int, int], bytes] = {}
        self._transfers: dict[str, float] = {}
        self._last_step = 0

    def emit(self, event: Event) -> None:
        with self._lock:
            data = self._text(event)
            if data:
                _write(self._stream, data)

    def _text(self, event: Event) -> bytes:
        match event:
            case StepStarted():
                self._started[event.step_id] = time.monotonic()
                return self._heading(event.step_id, event.name)
            case StepCached():
                source = "" if event.source == "local" else f" ({event.source})"
                return self._heading(event.step_id, event.name) + _line(f"#{event.step_id} CACHED{source}")
            case StepOutput():
                return self._output(event)
            case StepFinished():
                return self._rests(event.step_id) + _line(f"#{event.step_id} DONE {event.seconds:.1f}s")
            case StepFailed():
                how = "CANCELED" if event.message == CANCELED else f"ERROR: {event.message}"
                return self._rests(event.step_id) + _line(f"#{event.step_id} {how}")
            case Transfer():
                return self._transfer(event)
            case WarningMessage():
                return _warning(event)
            case InfoMessage():
                return _line(event.message)
            case PhaseFinished() | ResourceChanged():
                return b""

    def _heading(self, step_id: int, name: str) -> bytes:
        """Return a step's first line, set off from the one before."""
        gap = b"\n" if self._last_step else b""
        self._last_step = step_id
        return gap + _line(f"#{step_id} {name}")

    def _output(self, event: StepOutput) -> bytes:
        key = (event.step_id, event.stream)
        *lines, rest = (self._rest.get(key, b"") + event.data).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            lines.append(rest)
            rest = b""
        self._rest[key] = rest
        return b"".join(self._output_line(event.step_id, line) for line in lines)

    def _rests(self, step_id: int) -> bytes:
        rests = [self._rest.pop((step_id, stream), b"") for stream in (1, 2)]
        return b"".join(self._output_line(step_id, rest) for rest in rests if rest)

    def _output_line(self, step_id: int, line: bytes) -> bytes:
        now = time.monotonic()
        seconds = now - self._started.get(step_id, now)
        return b"#%d %.3f %s\n" % (step_id, seconds, line.removesuffix(b"\r"))

    def _transfer(self, event: Transfer) -> bytes:
        now = time.monotonic()
        if event.finished:
            self._transfers.pop(event.key, None)
            return _line(f"{event.label} {size_text(event.total_bytes or event.done_bytes)} {event.note or 'done'}")
        if now - self._transfers.setdefault(event.key, now) < TRANSFER_INTERVAL_SECONDS:
            return b""
        self._transfers[event.key] = now
        total = f" / {size_text(event.total_bytes)}" if event.total_bytes is not None else ""
        return _line(f"{event.label} {size_text(event.done_bytes)}{total}")


def _line(text: str) -> bytes:
    """Return one line: what would begin another is shown as a space."""
    return " ".join(text.splitlines()).encode("utf-8", "surrogateescape") + b"\n"


def _warning(event: WarningMessage) -> bytes:
    where = f"{event.where}: " if event.where else ""
    rule = f"{event.rule}: " if event.rule else ""
    return _line(f"warning: {where}{rule}{event.message}")


def _binary(stream: TextIO) -> BinaryIO:
    """Return the bytes below a text stream, nothing left between them."""
    stream.flush()
    return stream.buffer


def _write(stream: BinaryIO, data: bytes) -> None:
    """Write without ever raising: a closed stderr ends no build."""
    try:
        stream.write(data)
        stream.flush()
    except (OSError, ValueError):
        return
