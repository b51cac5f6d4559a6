"""Freeze the processes of a container: by its control group where it has one that can, else by SIGSTOP to each."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from tiffin.builder.containers.lifecycle.processes import send_signal
from tiffin.builder.containers.state import stat_fields
from tiffin.cache.foundation.signals import signal

FREEZE_FILE, STATE_FILE = "cgroup.freeze", "freezer.state"  # of version 2, of version 1
ROUNDS = 50  # of looking for processes that were forked meanwhile
PAUSE_SECONDS = 0.005
STOPPED = b"TtZX"  # states of a process that runs nothing


def freeze(groups: Sequence[str], processes: Callable[[], Sequence[int]]) -> bool:
    """Freeze a container; False where its processes had to be stopped one by one."""
    if _write(groups, b"1", b"FROZEN"):
        return True
    for _ in range(ROUNDS):
        running = [pid for pid in processes() if state_of(pid) not in STOPPED]
        if not running:
            break
        for pid in running:
            send_signal(pid, signal.SIGSTOP)
        time.sleep(PAUSE_SECONDS)
    return False


def thaw(groups: Sequence[str], processes: Callable[[], Sequence[int]]) -> None:
    """Let them run again."""
    if not _write(groups, b"0", b"THAWED"):
        for pid in processes():
            send_signal(pid, signal.SIGCONT)


def state_of(pid: int) -> bytes:
    """Return the letter that says what a process does; X for one that is gone."""
    fields = stat_fields(pid)
    return fields[0] if fields else b"X"


def _write(groups: Sequence[str], second: bytes, first: bytes) -> bool:
    """Write to the group of version 2 or 1 that can freeze; False if there is none, or it may not be written."""
    for group in groups:
        for name, text in ((FREEZE_FILE, second), (STATE_FILE, first)):
            try:
                fd = os.open(f"{group}/{name}", os.O_WRONLY | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                os.write(fd, text)
                return True
            except OSError:
                continue
            finally:
                os.close(fd)
    return False
