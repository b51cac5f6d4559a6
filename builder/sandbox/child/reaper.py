"""End what a run left without a pid namespace of its own: processes.

The runner is the reaper of everything that its command started (PR_SET_CHILD_SUBREAPER), so whatever a daemon does to
detach itself, it stays a descendant.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable

from tiffin.cache.foundation.signals import signal

KILL_SECONDS = 10.0  # a process that does not die in that time is stuck in the kernel
PAUSE_SECONDS = 0.002
TRACER_PAUSE_SECONDS = 0.05
LOADERS = "/tmp"  # where those versions write, whatever the environment says
INIT_NAME = b"tiffin-init"  # what ps shows of our inits
PARENT, GROUP = 1, 2  # fields of /proc/PID/stat after the name
# PRoot then kills what it traces and waits for its end: what outlives its tracer goes on in the machine's own root
TRACER_END = signal.SIGQUIT


def kill_descendants(reaped: set[int]) -> None:
    """Kill and reap until this process has no child; adds which they were. Tracers go after what they trace."""
    deadline = time.monotonic() + KILL_SECONDS
    own_group = os.getpgrp()
    while has_children(reaped) and time.monotonic() < deadline:
        found = descendants(os.getpid())
        tracing = tracers(pid for pid, _ in found)
        spared = {group for pid, group in found if pid in tracing}
        # a whole group at once: no fork in it can escape between the look and the kill
        for group in {group for _, group in found} - {own_group, 0, 1} - spared:
            with contextlib.suppress(OSError):
                os.killpg(group, signal.SIGKILL)
        kill_each(pid for pid, _ in found if pid not in tracing)
        time.sleep(PAUSE_SECONDS)


def kill_each(pids: Iterable[int]) -> None:
    """Kill processes, as far as they are there."""
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def tracers(pids: Iterable[int]) -> set[int]:
    """Return the processes that trace one of `pids`."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError, IndexError, ValueError), open(f"/proc/{pid}/status", "rb") as file:
            found.add(int(file.read().partition(b"\nTracerPid:")[2].split(maxsplit=1)[0]))
    return found - {0}


def remove_loaders(tracers: set[int]) -> None:
    """Remove what PRoot before 5.2 leaves in /tmp when it is killed."""
    for name in os.listdir(LOADERS) if os.path.isdir(LOADERS) else ():
        first, _, rest = name.partition("-")
        pid = rest.partition("-")[0]
        if first == "prooted" and pid.isdigit() and int(pid) in tracers:
            with contextlib.suppress(OSError):
                os.unlink(f"{LOADERS}/{name}")


def wait_for_tracer(tracer: int) -> int:
    """Wait for a program that runs a command and then waits for all the command left: that is killed. The wait status.

    The command is the tracer's only child, as orphans go to the runner. PRoot before 5.3 has no option for this.
    """
    while True:
        pid, status = os.waitpid(tracer, os.WNOHANG)
        if pid:
            return status
        others = [other for other, _ in descendants(os.getppid()) if other not in (tracer, os.getpid())]
        if others and not descendants(tracer):
            kill_each(others)
        time.sleep(TRACER_PAUSE_SECONDS)


def has_children(reaped: set[int]) -> bool:
    """Reap what has ended; whether anything is left."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        reaped.add(pid)


def descendants(ancestor: int) -> list[tuple[int, int]]:
    """Return every process below `ancestor` with its process group."""
    parents = _by_parent()
    result: list[tuple[int, int]] = []
    pending = [ancestor]
    while pending:
        children = parents.get(pending.pop(), [])
        result += children
        pending += [pid for pid, _ in children]
    return result


def _by_parent() -> dict[int, list[tuple[int, int]]]:
    """Return the children of each process."""
    parents: dict[int, list[tuple[int, int]]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
                parents.setdefault(int(fields[PARENT]), []).append((int(name), int(fields[GROUP])))
    return parents
