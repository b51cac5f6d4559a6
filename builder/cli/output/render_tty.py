"""The live view: running steps with their last lines, transfers with bars. Owner of rich.

A thread redraws while something runs, and only then: between steps the process is single-threaded, as entering a user
namespace needs it, and what is printed stays where it is.
"""

from __future__ import annotations

import codecs
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import TextIO

from rich.console import Console, Group
from rich.errors import StyleSyntaxError
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.style import Style
from rich.table import Table
from rich.text import Text

from tiffin.builder.cli.output.live.planned import LastTimes, PastTimes, PlannedSteps, seconds_text
from tiffin.builder.cli.output.plain.step_lines import closing_text
from tiffin.builder.cli.output.renderer import Renderer
from tiffin.builder.errors import CANCELED
from tiffin.builder.events import (
    BuildFinished,
    Event,
    InfoMessage,
    StepCached,
    StepFailed,
    StepFinished,
    StepOutput,
    StepStarted,
    Transfer,
    WarningMessage,
)
from tiffin.builder.plain_text import plain_line, size_text

LOG_LINES = 6  # BuildKit's, unless its variable says otherwise
COLOURS = {"run": "blue", "cancel": "bold red", "error": "bold red", "warning": "yellow"}  # by BuildKit's words
REFRESH_SECONDS = 0.125
BAR_WIDTH = 24
MAX_WAITING = 3  # steps that wait are shown
MIN_WIDTH_FOR_BARS = 72  # label, bar and sizes fit on a line
MAX_REST_CHARACTERS = 4096  # of a line that does not end; what is shown is one line of a terminal


class _Step:
    """A running step and its last lines."""

    def __init__(self, name: str, key: str, log_lines: int) -> None:
        self.name = plain_line(name)
        self.key = key  # its name in the plan
        self.began = time.monotonic()
        self.lines: deque[str] = deque(maxlen=log_lines)
        self._decoders = {n: codecs.getincrementaldecoder("utf-8")("replace") for n in (1, 2)}
        self._rests = {1: "", 2: ""}

    def add(self, stream: int, data: bytes) -> None:
        """Keep the last lines of output."""
        *lines, rest = (self._rests[stream] + self._decoders[stream].decode(data)).split("\n")
        self.lines.extend(plain for line in lines[-(self.lines.maxlen or 1) :] if (plain := plain_line(line)))
        self._rests[stream] = rest[-MAX_REST_CHARACTERS:]

    def shown(self) -> list[str]:
        """Return the lines to show: an unfinished one, such as a progress bar of the command, is the last."""
        unfinished = [plain for rest in self._rests.values() if (plain := plain_line(rest))]
        return [*self.lines, *unfinished][-(self.lines.maxlen or 1) :]


class LiveRenderer(Renderer):
    """Draws on a terminal; the cursor is back and the lines stand when the command ends, however it ends."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str], last_times: LastTimes | None = None) -> None:
        self._colours = COLOURS | chosen_colours(environ.get("BUILDKIT_COLORS", ""))
        lines = environ.get("BUILDKIT_TTY_LOG_LINES", "")
        self._log_lines = int(lines) if lines.isdecimal() else LOG_LINES
        self._console = Console(file=stream, force_terminal=True, highlight=False, markup=False, emoji=False)
        self._lock = threading.Lock()  # guards what follows
        self._began = time.monotonic()
        self._steps: dict[int, _Step] = {}
        self._transfers: dict[str, Transfer] = {}
        self._plan = PlannedSteps()
        self._past = PastTimes(last_times)
        self._live: Live | None = None
        self._ticker: threading.Thread | None = None
        self._wake = threading.Event()

    def __enter__(self) -> LiveRenderer:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._steps.clear()
            self._transfers.clear()
            self._follow()
            ticker = self._ticker
        if ticker is not None:
            ticker.join()

    def emit(self, event: Event) -> None:
        with self._lock:
            line = self._take(event)
            try:
                if line is not None:
                    self._console.print(line, soft_wrap=True)
                self._follow()
            except OSError:  # the terminal is gone: that ends no build
                return

    def _take(self, event: Event) -> Text | None:
        """Change the state; a line that stays on the screen, if there is one."""
        self._plan.take(event)
        match event:
            case StepStarted():
                self._steps[event.step_id] = _Step(event.title, event.name, self._log_lines)
            case StepOutput():
                if event.step_id in self._steps:
                    self._steps[event.step_id].add(event.stream, event.data)
            case StepCached():
                return Text.assemble(("=> CACHED ", self._colours["run"]), plain_line(event.title))
            case StepFinished():
                return self._ended(event.step_id, ("=> ", "green"), event.seconds)
            case StepFailed():
                how, colour = ("CANCELED", "cancel") if event.message == CANCELED else ("ERROR", "error")
                return self._ended(event.step_id, (f"=> {how} ", self._colours[colour]), event.seconds)
            case Transfer():
                return self._moved(event)
            case WarningMessage():
                where = f"{event.where}: " if event.where else ""
                rule = f"{event.rule}: " if event.rule else ""
                return Text.assemble(("warning: ", self._colours["warning"]), plain_line(where + rule + event.message))
            case InfoMessage():
                return Text(plain_line(event.message))
            case BuildFinished():
                return Text.assemble(("=> ", "green"), plain_line(closing_text(event)), self._most())
        return None

    def _ended(self, step_id: int, mark: tuple[str, str], seconds: float) -> Text:
        step = self._steps.pop(step_id, None)
        took = seconds_text(seconds, self._past.of(step.key, seconds) if step else None)
        return Text.assemble(mark, step.name if step else f"#{step_id}", (f"  {took}", "dim"))

    def _most(self) -> Text:
        """Return which step took longest."""
        found = self._plan.costliest()
        return Text(f"\n   most of it: {plain_line(found[0])}  {found[1]:.1f}s" if found else "", "dim")

    def _moved(self, event: Transfer) -> Text | None:
        if not event.finished:
            self._transfers[event.key] = event
            return None
        self._transfers.pop(event.key, None)
        size = size_text(event.total_bytes or event.done_bytes)
        return Text.assemble(("=> ", "green"), plain_line(event.label), (f"  {size} {event.note}".rstrip(), "dim"))

    # -- drawing -------------------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Begin to draw when something runs, stop when nothing does. Call it with the lock held."""
        if self._steps or self._transfers:
            if self._live is None:
                self._live = Live(
                    self._view(),
                    console=self._console,
                    auto_refresh=False,
                    transient=True,
                    redirect_stdout=False,
                    redirect_stderr=False,
                )
                self._live.start(refresh=True)
            if self._ticker is None:
                self._wake.clear()
                self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)
                self._ticker.start()
        elif self._live is not None:
            live, self._live = self._live, None
            live.stop()
            self._wake.set()

    def _tick(self) -> None:
        while True:
            self._wake.wait(REFRESH_SECONDS)
            with self._lock:
                if self._live is None:
                    self._ticker = None
                    return
                self._wake.clear()
                try:
                    self._live.update(self._view(), refresh=True)
                except OSError:
                    continue

    def _view(self) -> Group:
        elapsed = time.monotonic() - self._began
        plan = self._plan
        verb = f"Building {elapsed:.1f}s ({plan.done}/{plan.total})" if plan.total else f"Transferring {elapsed:.1f}s"
        room = self._console.size.height - 2  # below the first line, the cursor's left out
        rows: list[Text | Table] = [self._transfer_row(transfer) for transfer in self._transfers.values()]
        waiting = self._waiting()[: max(0, room - len(rows) - 2 * len(self._steps))]
        lines = max(0, room - len(rows) - len(waiting) - len(self._steps)) // max(1, len(self._steps))
        for step in reversed(self._steps.values()):  # the newest may not find room
            took = time.monotonic() - step.began
            before = self._past.of(step.key, took) if self._console.width >= MIN_WIDTH_FOR_BARS else None
            shown = step.shown()[-min(self._log_lines, lines) :] if lines else []
            rows[:0] = [
                _row(Text.assemble(("=> ", "cyan"), step.name), seconds_text(took, before)),
                *(Text(f"   {line}", "dim", no_wrap=True, overflow="ellipsis") for line in shown),
            ]
        rows += [Text(f"   {line}", "dim", no_wrap=True, overflow="ellipsis") for line in waiting]
        if len(rows) > max(1, room):
            rest = len(rows) - room + 1
            rows = [*rows[: room - 1], Text(f"   and {rest} more", "dim", no_wrap=True, overflow="ellipsis")]
        return Group(Text(f"[+] {verb}", "bold", no_wrap=True, overflow="ellipsis"), *rows)

    def _waiting(self) -> list[str]:
        """Return lines about the steps that come next, and what they wait for."""
        found = list(self._plan.waiting())
        lines = []
        for name, places in found[:MAX_WAITING]:
            why = f"waits for {', '.join(map(plain_line, places))}" if places else "then"
            lines.append(f"{why}: {plain_line(name)}")
        left = self._plan.total - self._plan.done - len(self._steps) - len(lines)
        return [*lines, f"{left} more to come"] if left > 0 and lines else lines

    def _transfer_row(self, transfer: Transfer) -> Table:
        label = Text.assemble(("=> ", "cyan"), plain_line(transfer.label))
        done, total = size_text(transfer.done_bytes), transfer.total_bytes
        numbers = done if total is None else f"{done} / {size_text(total)}"
        if not total or self._console.width < MIN_WIDTH_FOR_BARS:
            return _row(label, numbers)
        return _row(label, numbers, ProgressBar(total=total, completed=transfer.done_bytes, width=BAR_WIDTH))


def chosen_colours(text: str) -> dict[str, str]:
    """Read BUILDKIT_COLORS, `run=123,20,245:error=yellow`; what is not a colour leaves the usual one."""
    found = {}
    for part in filter(None, text.split(":")):
        name, _, value = part.partition("=")
        style = f"rgb({value})" if "," in value else value.replace("light-", "bright_").replace("light", "bright_")
        try:
            Style.parse(style)
        except StyleSyntaxError:
            continue
        if name in COLOURS:
            found[name] = style
    return found


def _row(label: Text, numbers: str, bar: ProgressBar | None = None) -> Table:
    """Return one line of the screen: the label gives way, the numbers do not."""
    row = Table.grid(expand=True, padding=(0, 1))
    row.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    if bar is not None:
        row.add_column(width=BAR_WIDTH)
    row.add_column(no_wrap=True, justify="right")
    cells: list[Text | ProgressBar] = [label, *([bar] if bar else []), Text(numbers, "dim")]
    row.add_row(*cells)
    return row
