"""Run one command as the unprivileged user or as root, and say what it took."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.unprivileged import WITH_IDS, Users, interpreter

KIB = 1024
MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where everything of a benchmark lies: `folder` on a file system of its own, the user's home in it."""

    folder: Path
    users: Users

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def prepare(self) -> None:
        """Make the home."""
        entry = pwd.getpwnam(WITH_IDS)
        for path, mode in ((self.home, 0o755), (self.home / "tmp", 0o700), (self.home / "run", 0o700)):
            path.mkdir()
            path.chmod(mode)
            os.chown(path, entry.pw_uid, entry.pw_gid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One program to run. `trace` is the file that tiffin's --profile writes there, if any."""

    argv: Sequence[str]
    as_user: bool = True
    env: Mapping[str, str] = field(default_factory=dict)
    trace: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What commands took together.

    `cpu_seconds` are those of the processes they started (not of a daemon), `peak_bytes` the memory of the largest, or of
    tiffin alone where its trace tells; `phases` the seconds of each phase of tiffin's trace.
    """

    seconds: float
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    phases: Mapping[str, float] = field(default_factory=dict)


def measured(place: Place, commands: Sequence[Command]) -> Sample:
    """Run commands one after the other; stops at one that fails."""
    seconds, cpu_seconds, peak = 0.0, 0.0, 0
    phases: dict[str, float] = {}
    for command in commands:
        began = time.monotonic()
        process = _started(place, command)
        with process.stderr as stream:  # type: ignore[union-attr]  # it is a pipe
            errors = stream.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds += time.monotonic() - began
        cpu_seconds += usage.ru_utime + usage.ru_stime
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command.argv)} failed: {errors[-2000:].decode('utf-8', 'replace')}")
        own = usage.ru_maxrss * KIB
        if command.trace is not None:
            own, found = read_trace(json.loads(command.trace.read_text()))
            phases.update(found)
        peak = max(peak, own)
    return Sample(seconds=seconds, cpu_seconds=cpu_seconds, peak_bytes=peak, phases=phases)


def read_trace(document: Mapping[str, object]) -> tuple[int, dict[str, float]]:
    """The peak memory in a trace of --profile, and the seconds of each phase, those of several threads together."""
    phases: dict[str, float] = {}
    events, other = document["traceEvents"], document["otherData"]
    assert isinstance(events, list) and isinstance(other, dict)
    for event in events:
        if event["cat"] == "phase":
            phases[event["name"]] = phases.get(event["name"], 0.0) + event["dur"] / MICROSECONDS
    return int(other["peak_bytes"]), phases


def python_command() -> list[str]:
    """A Python that the user may run."""
    return [interpreter()]


def _started(place: Place, command: Command) -> subprocess.Popen[bytes]:
    env = {"PATH": os.environ["PATH"], **command.env}
    if not command.as_user:
        return subprocess.Popen(
            list(command.argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**env, "HOME": os.environ["HOME"]},
        )
    entry = pwd.getpwnam(WITH_IDS)
    code = place.users.code
    own = {
        "HOME": str(place.home),
        "TMPDIR": str(place.home / "tmp"),
        "XDG_RUNTIME_DIR": str(place.home / "run"),
        "PYTHONPATH": f"{code}:{code / 'site'}",
    }
    return subprocess.Popen(
        list(command.argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=[],
        cwd=place.home,
        env={**env, **own},
    )
