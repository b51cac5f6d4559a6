"""Run one command as the unprivileged user or as root, and say what it took."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.unprivileged import WITH_IDS, Users, interpreter

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

    @property
    def python(self) -> str:
        """The Python of an environment that has tiffin and what it needs, and nothing else."""
        return str(self.folder / "venv/bin/python")

    def prepare(self) -> None:
        """Make the home and the environment, as pip would install it."""
        venv = self.folder / "venv"
        subprocess.run([interpreter(), "-m", "venv", "--without-pip", str(venv)], check=True)
        site = next((venv / "lib").glob("python*/site-packages"))
        site.rmdir()
        shutil.copytree(self.users.code / "site", site)
        shutil.copytree(self.users.code / "tiffin", site / "tiffin", dirs_exist_ok=True)
        subprocess.run([self.python, "-m", "compileall", "-q", str(site)], check=True)
        entry = pwd.getpwnam(self.users.name(WITH_IDS))
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

    `cpu_seconds` are those of the processes they started (not of a daemon), `peak_bytes` the memory of the largest, or
    of tiffin alone where its trace tells; `moved_bytes` went over the loopback network, where the registry is; `phases`
    are the seconds of each phase of tiffin's trace.
    """

    seconds: float
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    moved_bytes: int = 0
    phases: Mapping[str, float] = field(default_factory=dict)


def measured(place: Place, commands: Sequence[Command]) -> Sample:
    """Run commands one after the other; stops at one that fails."""
    seconds, cpu_seconds, peak = 0.0, 0.0, 0
    phases: dict[str, float] = {}
    moved = loopback_bytes()
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
    moved = loopback_bytes() - moved
    return Sample(seconds=seconds, cpu_seconds=cpu_seconds, peak_bytes=peak, moved_bytes=moved, phases=phases)


def loopback_bytes() -> int:
    """Return the bytes that went over the loopback interface since it is up."""
    return int(Path("/sys/class/net/lo/statistics/rx_bytes").read_text())


def read_trace(document: Mapping[str, object]) -> tuple[int, dict[str, float]]:
    """The peak memory in a trace of --profile, and the seconds of each phase, those of several threads together."""
    phases: dict[str, float] = {}
    events, other = document["traceEvents"], document["otherData"]
    assert isinstance(events, list) and isinstance(other, dict)
    for event in events:
        if event["cat"] == "phase":
            phases[event["name"]] = phases.get(event["name"], 0.0) + event["dur"] / MICROSECONDS
    return int(other["peak_bytes"]), phases


def _started(place: Place, command: Command) -> subprocess.Popen[bytes]:
    """Start it; as the user through setpriv, as a child that changes its user itself costs a copy of this process."""
    env, argv, cwd = {"PATH": os.environ["PATH"], **command.env}, list(command.argv), None
    if command.as_user:
        entry = pwd.getpwnam(place.users.name(WITH_IDS))
        argv = ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups", *argv]
        cwd = place.home
        env |= {"HOME": str(place.home), "TMPDIR": str(place.home / "tmp"), "XDG_RUNTIME_DIR": str(place.home / "run")}
    else:
        env["HOME"] = os.environ["HOME"]
    null, pipe = subprocess.DEVNULL, subprocess.PIPE
    return subprocess.Popen(argv, stdin=null, stdout=null, stderr=pipe, cwd=cwd, env=env)
