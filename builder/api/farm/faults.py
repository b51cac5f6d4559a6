"""Whose fault it is that a command failed: its own, or that of a machine without space or memory."""

from __future__ import annotations

import os
from pathlib import Path

from tiffin.builder.errors import RunError
from tiffin.builder.farm.values import MACHINE, Failure, Unit, failure_of
from tiffin.builder.instructions.ops import RunOp
from tiffin.cache.foundation.frozen import replace

LEAST_FREE_BYTES = 16 << 20  # of a disk that is not full
KILLED = 137  # the exit code of a command that SIGKILL ended
VMSTAT = Path("/proc/vmstat")


class Faults:
    """Looks at a machine before and after. `root`: the state directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._killed = _killed_for_memory()

    def failure(self, error: BaseException, unit: Unit) -> Failure:
        """Return an error as it travels; one that another machine may not have is a machine's."""
        found = failure_of(error)
        if not isinstance(error, RunError):
            return found
        st = os.statvfs(self._root)
        if st.f_bavail * st.f_frsize < LEAST_FREE_BYTES:
            return replace(found, kind=MACHINE, status=None, message=f"its disk is full: {error.message}")
        if error.status == KILLED and _killed_for_memory() > self._killed and not _is_limited(unit):
            return replace(found, kind=MACHINE, status=None, message=f"it ran out of memory: {error.message}")
        return found


def _killed_for_memory() -> int:
    """Return how many processes the kernel has killed because there was no memory; 0 where it does not tell."""
    try:
        lines = VMSTAT.read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def _is_limited(unit: Unit) -> bool:
    """Whether the build limits the memory of its commands, so that a lack of it is the command's own."""
    ops = [task.stage.steps[task.number].op for task in unit.tasks]
    return any(isinstance(op, RunOp) and op.run_defaults.limits is not None for op in ops)
