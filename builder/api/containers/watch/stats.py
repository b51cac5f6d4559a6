"""docker stats: what containers use, from their control groups where they have them, else summed over /proc."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.lifecycle.processes import processes_of
from tiffin.builder.containers.state import ContainerState, stat_fields
from tiffin.builder.errors import TiffinError
from tiffin.cache.foundation.frozen import dataclass

TICKS = os.sysconf("SC_CLK_TCK")
NANOSECONDS = 1e9
NO_LIMIT = 1 << 60  # version 1 writes a huge number


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a container has used at a moment (monotonic seconds); all 0 for one that does not run."""

    moment: float = 0.0
    cpu_seconds: float = 0.0
    memory: int = 0
    memory_limit: int = 0
    received: int = 0
    sent: int = 0
    read: int = 0
    written: int = 0
    tasks: int = 0

    def cpu_share(self, before: Usage) -> float:
        """Return the share of one processor in percent since an earlier moment."""
        passed = self.moment - before.moment
        used = self.cpu_seconds - before.cpu_seconds
        return 100 * used / passed if passed > 0 and used > 0 and before.moment else 0.0

    @property
    def memory_share(self) -> float:
        return 100 * self.memory / self.memory_limit if self.memory_limit else 0.0


def chosen(names: Sequence[str], session: Session, *, everything: bool) -> list[ContainerState]:
    """Return the containers of these names, without names those that run. Raises ImageNotFoundError."""
    containers = Containers(session.state)
    if names:
        return [containers.find(name) for name in names]
    return [state for state in containers.states() if everything or containers.is_alive(state.id)]


def measure(state: ContainerState, session: Session) -> Usage:
    """Return what a container has used so far."""
    containers = Containers(session.state)
    try:
        pids = processes_of(state) if containers.is_alive(state.id) else []
    except TiffinError:
        pids = []
    if not pids:
        return Usage()
    groups = [Path(path) for path in containers.groups(state.id)]
    cpu, rss, tasks = _of_processes(pids)
    memory = _memory(groups)
    read, written = _of_groups(groups) or _io(pids)
    received, sent = _network(pids[0])
    return Usage(
        moment=time.monotonic(),
        cpu_seconds=_cpu(groups, cpu),
        memory=rss if memory is None else memory,
        memory_limit=_memory_limit(groups),
        received=received,
        sent=sent,
        read=read,
        written=written,
        tasks=_number(groups, "pids.current") or tasks,
    )


def _of_processes(pids: Sequence[int]) -> tuple[float, int, int]:
    """Return the processor time, memory and threads of processes."""
    ticks, memory, tasks = 0, 0, 0
    for pid in pids:
        with contextlib.suppress(OSError, IndexError, ValueError):
            fields = stat_fields(pid)
            ticks += sum(map(int, fields[11:15]))  # with those of children that it waited for
            tasks += int(fields[17])
            memory += _own_memory(pid, int(fields[21]))
    return ticks / TICKS, memory, tasks


def _own_memory(pid: int, pages: int) -> int:
    """Return the share of memory that is a process's own; all that it sees where that is not told."""
    with contextlib.suppress(OSError, ValueError):
        for line in _text(Path(f"/proc/{pid}/smaps_rollup")).splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def _cpu(groups: Sequence[Path], otherwise: float) -> float:
    for group in groups:
        for line in _lines(group / "cpu.stat"):
            if line.startswith("usage_usec"):
                return int(line.split()[1]) / 1e6
    usage = _number(groups, "cpuacct.usage")
    return usage / NANOSECONDS if usage is not None else otherwise


def _memory(groups: Sequence[Path]) -> int | None:
    """Return the memory of a group without files that could be forgotten, as docker counts it."""
    for group in groups:
        for name in ("memory.current", "memory.usage_in_bytes"):
            used = _number([group], name)
            if used is not None:
                rows = dict(line.split(" ", 1) for line in _lines(group / "memory.stat") if " " in line)
                inactive = rows.get("inactive_file") or rows.get("total_inactive_file") or "0"
                return max(used - int(inactive), 0)
    return None


def _memory_limit(groups: Sequence[Path]) -> int:
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for name in ("memory.max", "memory.limit_in_bytes"):
        limit = _number(groups, name)
        if limit is not None and limit < NO_LIMIT:
            return min(limit, whole)
    return whole


def _of_groups(groups: Sequence[Path]) -> tuple[int, int] | None:
    for group in groups:
        if (group / "io.stat").exists():
            words = [word for line in _lines(group / "io.stat") for word in line.split()]
            return _sum(words, "rbytes="), _sum(words, "wbytes=")
    return None


def _sum(words: Sequence[str], name: str) -> int:
    return sum(int(word.removeprefix(name)) for word in words if word.startswith(name))


def _io(pids: Sequence[int]) -> tuple[int, int]:
    """Return the bytes that processes had read from disks, and written to them."""
    read = written = 0
    for pid in pids:
        for line in _lines(Path(f"/proc/{pid}/io")):
            name, _, value = line.partition(": ")
            read += int(value) if name == "read_bytes" else 0
            written += int(value) if name == "write_bytes" else 0
    return read, written


def _network(pid: int) -> tuple[int, int]:
    """Return the bytes received and sent through a network of a container's own; that of the machine is not its."""
    received = sent = 0
    with contextlib.suppress(OSError):
        if Path(f"/proc/{pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
            return 0, 0
    for line in _lines(Path(f"/proc/{pid}/net/dev"))[2:]:
        name, _, values = line.partition(":")
        if name.strip() != "lo":
            fields = values.split()
            received, sent = received + int(fields[0]), sent + int(fields[8])
    return received, sent


def _number(groups: Sequence[Path], name: str) -> int | None:
    for group in groups:
        with contextlib.suppress(OSError, ValueError):
            return int(_text(group / name))
    return None


def _lines(path: Path) -> list[str]:
    try:
        return _text(path).splitlines()
    except OSError:
        return []


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
