"""--profile: where the time of a command went, in the trace event format that chrome://tracing and Perfetto read."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

from tiffin.builder.cli.output.renderer import Renderer
from tiffin.builder.events import (
    Event,
    PhaseFinished,
    StepCached,
    StepFailed,
    StepFinished,
    StepStarted,
    Transfer,
)
from tiffin.cache.foundation.files import disk_errors

KIB = 1024  # the unit of VmHWM
MICROSECONDS = 1_000_000
FIRST_TRANSFER_TRACK = 1_000_000  # beyond the numbers of threads
FIRST_WORKER = 10_000_000  # in the place of a process: beyond all numbers of those


class Profiler(Renderer):
    """Passes events on and remembers when they came; the file is written at the end, also of a failed command."""

    def __init__(self, inner: Renderer, path: Path) -> None:
        self._inner = inner
        self._path = path
        self._began = time.monotonic()
        self._lock = threading.Lock()  # guards what follows
        self._events: list[dict[str, object]] = []
        self._names: dict[int, str] = {}
        self._threads: dict[int, int] = {}
        self._transfers: dict[str, tuple[int, float]] = {}
        self._workers: dict[str, list[int]] = {}  # of a farm: the steps that each is at, by row, 0 for none
        self._rows: dict[int, tuple[int, int]] = {}  # of steps there: worker and row

    def __enter__(self) -> Renderer:
        self._inner.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._inner.__exit__(*error)
        document = {"traceEvents": self._events, "displayTimeUnit": "ms", "otherData": {"peak_bytes": _peak_bytes()}}
        with disk_errors(self._path):
            self._path.write_text(json.dumps(document))

    def emit(self, event: Event) -> None:
        now = time.monotonic() - self._began
        with self._lock:
            self._note(event, now)
        self._inner.emit(event)

    def _note(self, event: Event, now: float) -> None:
        track = self._threads.setdefault(threading.get_ident(), len(self._threads) + 1)
        match event:
            case StepStarted():
                self._names[event.step_id] = event.name
                if event.worker:
                    self._begin_at(event.worker, event.step_id)
            case StepFinished() | StepFailed():
                process, row = self._end_at(event.step_id) or (os.getpid(), track)
                name = self._names.get(event.step_id, "step")
                self._add(name, "step", now - event.seconds, event.seconds, row, process)
            case StepCached():
                self._add(f"{event.name} CACHED ({event.source})", "step", now, 0.0, track)
            case PhaseFinished():
                self._add(event.name, "phase", now - event.seconds, event.seconds, track)
            case Transfer():
                number, since = self._transfers.setdefault(
                    event.key, (FIRST_TRANSFER_TRACK + len(self._transfers), now)
                )
                if event.finished:
                    self._add(f"{event.label} {event.done_bytes} bytes", "transfer", since, now - since, number)

    def _begin_at(self, worker: str, step_id: int) -> None:
        """Give a step the first free row of its worker, which is told of once."""
        if worker not in self._workers:
            number = FIRST_WORKER + len(self._workers)
            self._workers[worker] = []
            self._events.append(
                {"name": "process_name", "ph": "M", "pid": number, "args": {"name": f"worker {worker}"}}
            )
        rows = self._workers[worker]
        if 0 not in rows:
            rows.append(0)
        row = rows.index(0)
        rows[row] = step_id
        self._rows[step_id] = (FIRST_WORKER + list(self._workers).index(worker), row + 1)

    def _end_at(self, step_id: int) -> tuple[int, int] | None:
        """Return the worker and the row of a step, which is free again; None for one of this machine."""
        for rows in self._workers.values():
            rows[:] = [0 if found == step_id else found for found in rows]
        return self._rows.pop(step_id, None)

    def _add(
        self, name: str, category: str, since: float, seconds: float, track: int, process: int | None = None
    ) -> None:
        self._events.append(
            {
                "name": name,
                "cat": category,
                "ph": "X",
                "ts": round(since * MICROSECONDS),
                "dur": round(seconds * MICROSECONDS),
                "pid": os.getpid() if process is None else process,
                "tid": track,
            }
        )


def _peak_bytes() -> int:
    """Return the most memory this process had; ru_maxrss would count what its parent had when it was started."""
    with Path("/proc/self/status").open(encoding="ascii", errors="replace") as file:
        return next((int(line.split()[1]) * KIB for line in file if line.startswith("VmHWM:")), 0)
