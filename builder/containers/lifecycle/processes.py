"""The processes of a container that runs, as this machine sees them."""

from __future__ import annotations

import contextlib
import os

from tiffin.builder.containers.state import ContainerState, process_start, stat_fields
from tiffin.builder.errors import StoreError, UsageError
from tiffin.builder.sandbox.child.reaper import INIT_NAME, PARENT, descendants
from tiffin.cache.foundation.signals import signal

NAMESPACES = 2  # of pids, around a command: that of its init, and its own


def parse_signal(text: str) -> int:
    """Return the number of a signal: TERM, SIGTERM, RTMIN+3 or 15. Raises UsageError."""
    name = text.upper().removeprefix("SIG")
    number = int(name) if name.isdecimal() else 0
    if not number:
        base, sign, more = name.partition("+") if "+" in name else name.partition("-")
        found = vars(signal).get(f"SIG{base}") if base.isalnum() else None
        if found is not None and (not sign or more.isdecimal()):
            number = found + (int(more) if sign == "+" else -int(more) if sign else 0)
    if number not in range(1, signal.NSIG):
        raise UsageError(f'"{text}" is not a signal', remedy="write TERM, SIGTERM or 15")
    return number


def command_of(state: ContainerState) -> int:
    """Return the number of the process that is the command of a container that runs. Raises StoreError.

    With --init it is the child of the init, which nobody but root may look into.
    """
    if process_start(state.pid) == state.pid_started:
        depth = len(namespace_numbers(os.getpid())) + NAMESPACES
        found = [pid for pid, _ in descendants(state.pid)]
        for pid in found:
            numbers = namespace_numbers(pid)
            if len(numbers) == depth and numbers[-1] == 1:
                return _child(pid) if _is_init(pid) else pid
        for pid in found:  # outermost first: with the machine's pid namespace it is the child of our init
            if _is_init(pid) and descendants(pid):
                return _child(pid)
    raise StoreError(f"the command of container {state.name} cannot be reached from here", remedy="see tiffin ps")


def processes_of(state: ContainerState) -> list[int]:
    """Return the numbers of all processes of a container that runs, its command first. Raises StoreError.

    They are what has its pid namespace; where that is another container's, what has its mounts, too; where that is the
    machine's, its command, what that started, and orphans.
    """
    command = command_of(state)
    own = _namespace(command)
    if own and own != _namespace(os.getpid()):
        mounts = "" if _has_own_numbers(command) else _namespace(command, "mnt")
        others = (int(name) for name in os.listdir("/proc") if name.isdigit())
        found = [pid for pid in others if pid != command and _namespace(pid) == own]
        found = [pid for pid in found if not mounts or _namespace(pid, "mnt") == mounts]
        below = [pid for top in (command, *found) for pid, _ in descendants(top)]  # namespaces within the namespace
        return list(dict.fromkeys([command, *found, *below]))
    init = _parent(command)
    return [command, *(pid for pid, _ in descendants(_parent(init)) if pid not in (init, command))]


def _child(init: int) -> int:
    """Return the command of our init: its first child, for the init ends with that."""
    return next((child for child, _ in descendants(init)), init)


def _has_own_numbers(command: int) -> bool:
    """Tell whether the command of a container, or with --init what is around it, is process 1 where it is."""
    around = _namespace(command)
    return any(namespace_numbers(pid)[-1:] == [1] and _namespace(pid) == around for pid in (command, _parent(command)))


def _namespace(pid: int, kind: str = "pid") -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except OSError:
        return ""


def _parent(pid: int) -> int:
    fields = stat_fields(pid)
    return int(fields[PARENT]) if fields else 0


def namespace_numbers(pid: int) -> list[int]:
    """Return the numbers of a process in the pid namespaces from ours down to its own; none if it has ended."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", "rb") as file:
        for line in file:
            if line.startswith(b"NSpid:"):
                return [int(number) for number in line.split()[1:]]
    return []


def _is_init(pid: int) -> bool:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read(len(INIT_NAME) + 1).rstrip(b"\0") == INIT_NAME
    return False


def send_signal(pid: int, number: int) -> None:
    """Send a signal to a process; one that has ended is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
