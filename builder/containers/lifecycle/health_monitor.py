"""Checks the health of a container while its command runs, beside it in its supervisor's loop.

The last results are in health.json of the container's folder; state.json says only how it stands, and is written when
that changes.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from tiffin.builder.containers.health import HEALTHY, STARTING, UNHEALTHY, HealthCheck
from tiffin.builder.containers.lifecycle.log import time_text
from tiffin.builder.errors import TiffinError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing import Any

FILE = "health.json"
MAX_OUTPUT_BYTES, MAX_RESULTS = 4096, 5  # docker's
READ_BYTES = 1 << 16
NO_CODE = -1  # of a check that was ended, or could not be begun
SHORTEST_PAUSE_SECONDS = 0.05
PAUSED_SECONDS = 1.0  # until it is asked again whether a container is still paused


class Probe(Protocol):
    """A check that runs."""

    def fileno(self) -> int:
        """Return a descriptor that can be read once it has ended."""

    def finish(self) -> tuple[int, str]:
        """Return the exit code of one that has ended, and why it could not be begun. Raises TiffinError."""

    def kill(self) -> None:
        """End it, with all that it started."""


class HealthMonitor:
    """The health of one run of a command. `begin_probe` starts a check whose output goes to a descriptor."""

    def __init__(
        self,
        folder: Path,
        check: HealthCheck,
        *,
        begin_probe: Callable[[int], Probe],
        change: Callable[[str], None],
        is_paused: Callable[[], bool],
    ) -> None:
        self._folder = folder
        self._check = check
        self._begin_probe = begin_probe
        self._change = change
        self._is_paused = is_paused
        self._status = STARTING
        self._streak = 0
        self._results: list[dict[str, object]] = []
        self._probe: Probe | None = None
        self._reader = -1
        self._output = b""
        self._begun = time.monotonic()
        self._begun_ns = 0  # of the check, by the clock on the wall
        self._due = self._begun + self._pause()
        self._write()

    # -- what a supervisor's loop asks ---------------------------------------------------------------------------------

    def seconds(self) -> float:
        """Return how long nothing needs to be done here."""
        return max(self._due - time.monotonic(), 0.0)

    def descriptors(self) -> Sequence[int]:
        """Return what to wait for."""
        if self._probe is None:
            return ()
        return [fd for fd in (self._probe.fileno(), self._reader) if fd >= 0]

    def attend(self, ready: Collection[int]) -> None:
        """Do what is to be done now; `ready` are descriptors that can be read."""
        if self._probe is not None:
            if self._reader in ready:
                self._read()
            if self._probe.fileno() in ready:
                self._ended()
            elif time.monotonic() >= self._due:
                self._time_out()
        elif time.monotonic() >= self._due:
            if self._is_paused():
                self._due = time.monotonic() + PAUSED_SECONDS
            else:
                self._start()

    def end(self) -> None:
        """End the check that runs: the command has ended. What has no checks any more is not healthy, as in docker."""
        if self._probe is not None:
            self._probe.kill()
            self._let_go()
        self._status = UNHEALTHY
        self._write()

    # -- a check -------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._begun_ns = time.time_ns()
        self._reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reader, False)
        try:
            self._probe = self._begin_probe(writer)
            self._due = time.monotonic() + self._check.timeout
        except (TiffinError, OSError) as exc:
            self._let_go()
            self._judge(NO_CODE, str(exc).encode())
        finally:
            os.close(writer)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._reader, READ_BYTES):
                self._output = (self._output + data)[: MAX_OUTPUT_BYTES + 1]
            os.close(self._reader)
            self._reader = -1

    def _ended(self) -> None:
        assert self._probe is not None
        try:
            code, message = self._probe.finish()
        except TiffinError as exc:
            code, message = NO_CODE, str(exc)
        if self._reader >= 0:
            self._read()
        output = message.encode() or self._output
        self._let_go()
        self._judge(code, output)

    def _time_out(self) -> None:
        assert self._probe is not None
        self._probe.kill()
        self._let_go()
        self._judge(NO_CODE, f"Health check exceeded timeout ({_go_seconds(self._check.timeout)})".encode())

    def _let_go(self) -> None:
        if self._reader >= 0:
            os.close(self._reader)
        self._probe, self._reader, self._output = None, -1, b""

    def _judge(self, code: int, output: bytes) -> None:
        """Take a result into account, by docker's rules."""
        if len(output) > MAX_OUTPUT_BYTES:
            output = output[: MAX_OUTPUT_BYTES - 3] + b"..."
        result = {
            "Start": time_text(self._begun_ns),
            "End": time_text(time.time_ns()),
            "ExitCode": code,
            "Output": output.decode("utf-8", "replace"),
        }
        self._results = [*self._results, result][-MAX_RESULTS:]
        before = self._status
        if code == 0:
            self._status, self._streak = HEALTHY, 0
        elif not (before == STARTING and self._is_starting()):
            self._streak += 1
            if self._streak >= self._check.retries:
                self._status = UNHEALTHY
        self._due = time.monotonic() + max(self._pause(), SHORTEST_PAUSE_SECONDS)
        self._write()
        if self._status != before:
            self._change(self._status)

    def _is_starting(self) -> bool:
        return self._start_left() > 0

    def _start_left(self) -> float:
        return self._begun + self._check.start_period - time.monotonic()

    def _pause(self) -> float:
        """Return the seconds to the next check: one that comes after the start period is not late by its interval."""
        if self._status == STARTING and self._is_starting():
            return min(self._check.start_interval, self._start_left() + self._check.interval)
        return self._check.interval

    def _write(self) -> None:
        document = {"Status": self._status, "FailingStreak": self._streak, "Log": self._results}
        temporary = self._folder / f".{FILE}"
        with contextlib.suppress(OSError):  # a full disk ends no container
            temporary.write_text(json.dumps(document), encoding="utf-8")
            temporary.replace(self._folder / FILE)


def read_health(folder: Path) -> dict[str, Any] | None:
    """Return State.Health of a container as docker inspect shows it; None where nothing is checked."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _go_seconds(seconds: float) -> str:
    """Return a length of time as Go prints it."""
    from tiffin.builder.dockerfile.durations import format_duration

    return format_duration(round(seconds * 1e9))
