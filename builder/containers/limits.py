"""--memory, --cpus and --pids-limit of a container: control groups where there are any, else the nearest thing, in
words.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping

from tiffin.builder.containers.container import SHORT_ID_LENGTH, Container
from tiffin.builder.containers.mounts import parse_size
from tiffin.builder.errors import UsageError
from tiffin.builder.sandbox.cgroup import Groups, Limits, find_trees, make_groups, remove_groups
from tiffin.cache.foundation.frozen import dataclass

MIN_MEMORY_BYTES = 6 << 20  # Docker's
OWN_TASKS = 5  # of tiffin in the container's user namespace, counted by RLIMIT_NPROC
SYSTEMD_RUN = ("/usr/bin/systemd-run", "/bin/systemd-run")
IN_SCOPE = "TIFFIN_IN_SCOPE"  # set when systemd has begun us anew: not again
Ulimit = tuple[str, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What the sandbox is given. `warning` says what is less than was asked for."""

    groups: tuple[str, ...] = ()
    ulimits: tuple[Ulimit, ...] = ()
    cpu_count: int = 0
    warning: str = ""


def parse_limits(*, memory: str, swap: str, cpus: str, pids: int) -> Limits:
    """Return the options as limits, by Docker's rules. Raises UsageError."""
    memory_bytes = parse_size(memory) if memory else 0
    if memory and memory_bytes < MIN_MEMORY_BYTES:
        raise UsageError(f"--memory {memory} is less than a container can have", remedy="give at least 6m")
    swap_bytes = -1 if swap == "-1" else parse_size(swap) if swap else 2 * memory_bytes
    if swap and not memory:
        raise UsageError("--memory-swap needs --memory", remedy="give both")
    if 0 <= swap_bytes < memory_bytes:
        raise UsageError("--memory-swap is memory and swap together", remedy="give no less than --memory")
    return Limits(memory_bytes=memory_bytes, swap_bytes=swap_bytes, cpus=_cpus(cpus), pids=max(pids, 0))


def _cpus(text: str) -> float:
    if not text:
        return 0.0
    try:
        value = float(text)
    except ValueError as exc:
        raise UsageError(f'--cpus "{text}" is not a number', remedy="write a number such as 1.5") from exc
    most = os.cpu_count() or 1
    if value and not 0.01 <= value <= most:
        raise UsageError(f"--cpus {text} is out of range", remedy=f"give 0.01 to {most}, which this machine has")
    return value


def confine(container: Container, limits: Limits) -> Confinement:
    """Make the control groups of a container, which go with it; for what they cannot do, limits of each process."""
    if not limits.controllers():
        return Confinement()
    groups = make_groups(limits, f"tiffin-{container.state.id[:SHORT_ID_LENGTH]}", find_trees())
    container.hold_groups(groups.paths)
    return _with_substitutes(groups, limits)


def _with_substitutes(groups: Groups, limits: Limits) -> Confinement:
    import math

    ulimits: list[Ulimit] = []
    cpu_count = 0
    instead = []
    for name in groups.missing:
        match name:
            case "memory":
                ulimits.append(("data", limits.memory_bytes, limits.memory_bytes))
                instead.append("memory is limited for each process, not for all together")
            case "pids":
                ulimits.append(("nproc", limits.pids + OWN_TASKS, limits.pids + OWN_TASKS))
                instead.append("processes are counted by user")
            case _:
                cpu_count = math.ceil(limits.cpus)
                instead.append(f"the command has {cpu_count} of this machine's processors")
    warning = f"no control group may be made here: {'; '.join(instead)}" if instead else ""
    return Confinement(groups=groups.paths, ulimits=tuple(ulimits), cpu_count=cpu_count, warning=warning)


def begin_in_scope(limits: Limits, environ: Mapping[str, str]) -> None:
    """Start this very command again in a scope of the user's systemd, where only systemd may make groups; never returns
    then.
    """
    if not limits.controllers() or environ.get(IN_SCOPE):
        return
    helper = next((path for path in SYSTEMD_RUN if os.access(path, os.X_OK)), "")
    if not helper or not has_user_manager(environ) or _can_make(limits):
        return
    options = ["--user", "--scope", "--quiet", "--collect", "--property=Delegate=yes"]
    argv = [helper, *options, "--", sys.executable, *sys.orig_argv[1:]]
    with contextlib.suppress(OSError):
        os.execve(helper, argv, {**environ, IN_SCOPE: "1"})


def has_user_manager(environ: Mapping[str, str]) -> bool:
    """Whether systemd runs for this user and answers."""
    import socket

    directory = environ.get("XDG_RUNTIME_DIR", "")
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.connect(f"{directory}/systemd/private")
        return bool(directory)
    return False


def _can_make(limits: Limits) -> bool:
    groups = make_groups(limits, f"tiffin-probe-{os.getpid()}", find_trees())
    remove_groups(groups.paths)
    return not groups.missing
