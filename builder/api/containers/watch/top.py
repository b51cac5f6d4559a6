"""docker top: the processes of a container as ps shows them, read from /proc, without ps."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.lifecycle.processes import processes_of
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.frozen import dataclass

FULL = ("uid", "pid", "ppid", "c", "stime", "tty", "time", "cmd")  # ps -ef
LONG = ("user", "pid", "%cpu", "%mem", "vsz", "rss", "tt", "stat", "start", "time", "command")  # ps aux
SHORT = ("pid", "tty", "time", "comm")  # ps -e
TICKS, PAGE_BYTES = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
DAY_SECONDS = 86_400
PTS_MAJOR = range(136, 144)


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What /proc says of a process. Times are seconds; `uid` is the id inside the container."""

    pid: int
    fields: Sequence[str]  # of stat, after the name
    name: str
    arguments: str
    uid: int
    uptime: float  # of the machine
    memory: int  # of the machine

    @property
    def cpu_seconds(self) -> float:
        return (int(self.fields[11]) + int(self.fields[12])) / TICKS

    @property
    def age(self) -> float:
        return max(self.uptime - int(self.fields[19]) / TICKS, 0.0)

    @property
    def rss(self) -> int:
        return int(self.fields[21]) * PAGE_BYTES

    @property
    def cpu_share(self) -> float:
        return 100 * self.cpu_seconds / self.age if self.age else 0.0


def top(name: str, session: Session, words: Sequence[str]) -> list[list[str]]:
    """Return the head and the rows that ps would show with `words` as its options. Raises TiffinError."""
    columns = parse_columns(words)
    containers = Containers(session.state)
    processes = read_processes(processes_of(containers.find_running(name)))
    rows = [[_COLUMNS[column][1](process) for column, _ in columns] for process in processes]
    return [[head for _, head in columns], *rows]


def parse_columns(words: Sequence[str]) -> list[tuple[str, str]]:
    """Return the columns, with their heads, that options of ps ask for. Raises UsageError."""
    chosen: list[tuple[str, str]] = []
    kind: Sequence[str] = ()
    pending = list(words) or ["-ef"]
    while pending:
        word = pending.pop(0)
        match = re.fullmatch(r"(-?[aexAf]*)o(.*)", word)
        if match or word.startswith(("--format=", "--format")):
            text = word.partition("=")[2] if word.startswith("--format") else match[2] if match else ""
            text = text or (pending.pop(0) if pending else "")
            chosen += _listed(text)
        elif re.fullmatch(r"-?[axwe]*u[axwe]*", word):
            kind = LONG
        elif re.fullmatch(r"-[eAaxw]*f[eAaxw]*", word):
            kind = FULL
        elif re.fullmatch(r"-?[eAaxw]+", word):
            kind = kind or SHORT
        else:
            raise UsageError(f'top: the option "{word}" of ps is not supported', remedy="use -ef, aux or -o pid,comm")
    if not chosen:
        chosen = [(column, _COLUMNS[column][0]) for column in kind]
    if "pid" not in [column for column, _ in chosen]:
        raise UsageError("top: the options of ps leave out the PID", remedy="add pid to -o")
    return chosen


def _listed(text: str) -> list[tuple[str, str]]:
    found = []
    for item in re.split(r"[ ,]+", text.strip()):
        column, equals, head = item.partition("=")
        column = _OTHER_NAMES.get(column, column)
        if column not in _COLUMNS:
            raise UsageError(f'top: ps has no column "{column}" here', remedy=f"use some of {', '.join(_COLUMNS)}")
        found.append((column, head if equals else _COLUMNS[column][0]))
    return found


def read_processes(pids: Sequence[int]) -> list[Process]:
    """Read what /proc says of processes; those that have ended are left out."""
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    memory = os.sysconf("SC_PHYS_PAGES") * PAGE_BYTES
    found = []
    for pid in sorted(pids):
        with contextlib.suppress(OSError, IndexError, ValueError):
            folder = Path(f"/proc/{pid}")
            head, _, rest = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
            arguments = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
            name = head.partition("(")[2]
            found.append(
                Process(
                    pid=pid, fields=rest.split(), name=name, arguments=arguments or f"[{name}]", uid=_uid(pid),
                    uptime=uptime, memory=memory,
                )
            )  # fmt: skip
    return found


def _uid(pid: int) -> int:
    """Return the id that a process has in its own user namespace."""
    lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    outer = next(int(line.split()[2]) for line in lines if line.startswith("Uid:"))
    for line in Path(f"/proc/{pid}/uid_map").read_text().splitlines():
        inside, outside, count = map(int, line.split())
        if outside <= outer < outside + count:
            return inside + outer - outside
    return outer


def _user(process: Process) -> str:
    try:
        return pwd.getpwuid(process.uid).pw_name
    except KeyError:
        return str(process.uid)


def _terminal(process: Process) -> str:
    device = int(process.fields[4])
    major, minor = os.major(device), os.minor(device)
    return f"pts/{minor + 256 * (major - PTS_MAJOR[0])}" if major in PTS_MAJOR else "?"


def _started(process: Process) -> str:
    began = time.localtime(time.time() - process.age)
    return time.strftime("%H:%M" if process.age < DAY_SECONDS else "%b%d", began)


def _time(process: Process) -> str:
    minutes, seconds = divmod(int(process.cpu_seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}"


def _elapsed(process: Process) -> str:
    minutes, seconds = divmod(int(process.age), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"


_COLUMNS: Mapping[str, tuple[str, Callable[[Process], str]]] = {
    "uid": ("UID", _user),
    "user": ("USER", _user),
    "pid": ("PID", lambda process: str(process.pid)),
    "ppid": ("PPID", lambda process: process.fields[1]),
    "pgid": ("PGID", lambda process: process.fields[2]),
    "sid": ("SID", lambda process: process.fields[3]),
    "c": ("C", lambda process: str(int(process.cpu_share))),
    "%cpu": ("%CPU", lambda process: f"{process.cpu_share:.1f}"),
    "%mem": ("%MEM", lambda process: f"{100 * process.rss / process.memory:.1f}"),
    "vsz": ("VSZ", lambda process: str(int(process.fields[20]) // 1024)),
    "rss": ("RSS", lambda process: str(process.rss // 1024)),
    "ni": ("NI", lambda process: process.fields[16]),
    "nlwp": ("NLWP", lambda process: process.fields[17]),
    "stat": ("STAT", lambda process: process.fields[0]),
    "stime": ("STIME", _started),
    "start": ("START", _started),
    "tty": ("TTY", _terminal),
    "tt": ("TTY", _terminal),
    "time": ("TIME", _time),
    "etime": ("ELAPSED", _elapsed),
    "comm": ("COMMAND", lambda process: process.name),
    "cmd": ("CMD", lambda process: process.arguments),
    "command": ("COMMAND", lambda process: process.arguments),
}
_OTHER_NAMES = {
    "args": "command", "pcpu": "%cpu", "pmem": "%mem", "ucmd": "comm", "vsize": "vsz", "rssize": "rss", "state": "stat",
    "s": "stat", "euser": "user", "ruser": "user", "uname": "user", "nice": "ni", "thcount": "nlwp",
    "start_time": "stime", "tname": "tty", "cputime": "time", "pgrp": "pgid", "sess": "sid", "session": "sid",
}  # fmt: skip
