"""The live view: running steps with their last lines, transfers with bars. Owner of rich."""

from __future__ import annotations

import re
import threading
import time
from collections import deque

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

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

LOG_LINES = 6  # BuildKit's
REFRESH_PER_SECOND = 8
BAR_WIDTH = 24
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|[\x00-\x08\x0b-\x1f\x7f]")


class LiveRenderer(Renderer):
    """Draws on stderr; the cursor is back and the lines stand when the command ends, however it ends."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._lock = threading.Lock()  # guards what follows
        self._began = time.monotonic()
        self._running: dict[int, tuple[str, float]] = {}
        self._logs: dict[int, deque[str]] = {}
        self._rest: dict[int, str] = {}
        self._transfers: dict[str, Transfer] = {}
        self._done = 0
        self._live = Live(console=self._console, refresh_per_second=REFRESH_PER_SECOND, transient=True)

    def __enter__(self) -> LiveRenderer:
        # the refresh thread starts with the first event: until then the process has one thread
        return self

    def __exit__(self, *_: object) -> None:
        if self._live.is_started:
            self._live.stop()

    def emit(self, event: Event) -> None:
        with self._lock:
            line = self._take(event)
            if not self._live.is_started and isinstance(event, StepStarted | Transfer):
                self._live.start()
            if line is not None:
                self._console.print(line)
            if self._live.is_started:
                self._live.update(self._view())

    def _take(self, event: Event) -> Text | None:
        """Change the state; a line that stays on the screen, if there is one."""
        match event:
            case StepStarted():
                self._running[event.step_id] = (event.name, time.monotonic())
                self._logs[event.step_id] = deque(maxlen=LOG_LINES)
            case StepOutput():
                self._log(event)
            case StepCached():
                self._done += 1
                return Text.assemble(("=> CACHED ", "blue"), event.name)
            case StepFinished():
                self._done += 1
                name, _ = self._running.pop(event.step_id, ("", 0.0))
                return Text.assemble(("=> ", "green"), name, (f"  {event.seconds:.1f}s", "dim"))
            case StepFailed():
                name, _ = self._running.pop(event.step_id, ("", 0.0))
                return Text.assemble(("=> ERROR ", "red"), name, (f"  {event.seconds:.1f}s", "dim"))
            case Transfer():
                if not event.finished:
                    self._transfers[event.key] = event
                    return None
                self._transfers.pop(event.key, None)
                note = event.note or size_text(event.total_bytes or event.done_bytes)
                return Text.assemble(("=> ", "green"), event.label, (f"  {note}", "dim"))
            case Warned():
                where = f"{event.where}: " if event.where else ""
                return Text.assemble(("warning: ", "yellow"), where, event.message)
            case Noted():
                return Text(event.message)
        return None

    def _log(self, event: StepOutput) -> None:
        """Keep the last lines, without what would move the cursor."""
        text = self._rest.get(event.step_id, "") + event.data.decode("utf-8", "replace")
        *lines, self._rest[event.step_id] = text.replace("\r", "\n").split("\n")
        log = self._logs.get(event.step_id)
        if log is not None:
            log.extend(clean for line in lines if (clean := _CONTROL.sub("", line).rstrip()))

    def _view(self) -> Group:
        rows: list[Text | Table] = [
            Text(f"[+] {time.monotonic() - self._began:.1f}s ({self._done} done, {len(self._running)} running)", "bold")
        ]
        for step_id, (name, began) in self._running.items():
            rows.append(Text.assemble((" => ", "cyan"), name, (f"  {time.monotonic() - began:.1f}s", "dim")))
            rows += [Text(f"    {line}", "dim", no_wrap=True, overflow="ellipsis") for line in self._logs[step_id]]
        for transfer in self._transfers.values():
            row = Table.grid(padding=(0, 1))
            total = transfer.total_bytes or 0
            row.add_row(
                Text(f" => {transfer.label}"),
                ProgressBar(total=total or None, completed=transfer.done_bytes, width=BAR_WIDTH),
                Text(f"{size_text(transfer.done_bytes)} / {size_text(total)}", "dim"),
            )
            rows.append(row)
        return Group(*rows)
