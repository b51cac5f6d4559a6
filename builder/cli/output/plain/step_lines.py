"""Events as lines, in BuildKit's form: `#3 [stage 1/2] RUN make`, `#3 0.120 output`, `#3 DONE 1.2s`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import BinaryIO

from tiffin.builder.errors import CANCELED
from tiffin.builder.events import (
    BuildFinished,
    Event,
    InfoMessage,
    StepCached,
    StepFailed,
    StepFinished,
    StepOutput,
    Transfer,
    WarningMessage,
)
from tiffin.builder.plain_text import COLOURS, plain_bytes, size_text

TRANSFER_INTERVAL_SECONDS = 1.0  # between two lines about one transfer
MAX_LINE_BYTES = 1 << 16  # a longer one is shown in parts: memory stays bounded
_COLOUR_OFF = b"\x1b[0m"
ALL, COLOURED, NONE = "all", "coloured", "none"  # what output may have besides text: anything, colours, nothing


class StepLines:
    """Lines of steps; remembers what did not end in a newline yet. `controls`: what stays of control characters.

    `clock` tells seconds.
    """

    def __init__(self, controls: str, clock: Callable[[], float] = lambda: time.monotonic()) -> None:
        self._clock = clock
        self._controls = controls
        self._began: dict[int, float] = {}
        self._rest: dict[tuple[int, int], bytes] = {}
        self._transfers: dict[str, float] = {}

    def begin(self, step_id: int) -> None:
        """Remember when a step began."""
        self._began[step_id] = self._clock()

    def output(self, event: StepOutput) -> bytes:
        """Return the lines that are whole now."""
        key = (event.step_id, event.stream)
        *lines, rest = (self._rest.get(key, b"") + event.data).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            lines.append(rest)
            rest = b""
        self._rest[key] = rest
        return b"".join(self._output_line(event.step_id, line) for line in lines)

    def rests(self, step_id: int) -> bytes:
        """Return what a step that ended wrote after its last newlines."""
        rests = [self._rest.pop((step_id, stream), b"") for stream in (1, 2)]
        return b"".join(self._output_line(step_id, rest) for rest in rests if rest)

    def _output_line(self, step_id: int, line: bytes) -> bytes:
        now = self._clock()
        seconds = now - self._began.get(step_id, now)
        return b"#%d %.3f %s\n" % (step_id, seconds, self._visible(line.removesuffix(b"\r")))

    def _visible(self, line: bytes) -> bytes:
        if self._controls == ALL:
            return line
        if self._controls == NONE:
            return plain_bytes(line)
        text = plain_bytes(line, keep=COLOURS)
        return text + _COLOUR_OFF if b"\x1b" in text and not text.endswith(_COLOUR_OFF) else text

    def last(self, event: StepCached | StepFinished | StepFailed) -> bytes:
        """Return a step's last line."""
        match event:
            case StepCached():
                source = "" if event.source == "local" else f" ({event.source})"
                how = f"CACHED{source}"
            case StepFinished():
                how = f"DONE {event.seconds:.1f}s"
            case StepFailed():
                how = "CANCELED" if event.message == CANCELED else f"ERROR: {event.message}"
        return line_of(f"#{event.step_id} {how}")

    def other(self, event: Event) -> bytes:
        """Return the line about what is not a step; nothing where an event has none."""
        match event:
            case Transfer():
                return self._transfer(event)
            case WarningMessage():
                return warning_line(event)
            case InfoMessage():
                return line_of(event.message)
            case BuildFinished():
                return line_of(closing_text(event))
            case _:
                return b""

    def _transfer(self, event: Transfer) -> bytes:
        now = self._clock()
        if event.finished:
            self._transfers.pop(event.key, None)
            return line_of(f"{event.label} {size_text(event.total_bytes or event.done_bytes)} {event.note or 'done'}")
        if now - self._transfers.setdefault(event.key, now) < TRANSFER_INTERVAL_SECONDS:
            return b""
        self._transfers[event.key] = now
        total = f" / {size_text(event.total_bytes)}" if event.total_bytes is not None else ""
        return line_of(f"{event.label} {size_text(event.done_bytes)}{total}")


def line_of(text: str) -> bytes:
    """Return one line: what would begin another is shown as a space."""
    return plain_bytes(" ".join(text.splitlines()).encode("utf-8", "surrogateescape")) + b"\n"


def warning_line(event: WarningMessage) -> bytes:
    """Return the line about a warning."""
    where = f"{event.where}: " if event.where else ""
    rule = f"{event.rule}: " if event.rule else ""
    return line_of(f"warning: {where}{rule}{event.message}")


def closing_text(event: BuildFinished) -> str:
    """Return what was built, in one line."""
    names = ", ".join(event.names)
    image = f"{names or 'an image'} {event.digest}, {size_text(event.size_bytes)}" if event.digest else "files"
    hits = f"{event.cached_steps} of {event.steps} steps from a cache"
    return f"built {image}, in {event.seconds:.1f}s, {hits}"


def write(stream: BinaryIO, data: bytes) -> None:
    """Write without ever raising: a closed stderr ends no build."""
    if not data:
        return
    try:
        stream.write(data)
        stream.flush()
    except (OSError, ValueError):
        return
