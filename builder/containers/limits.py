"""--memory, --cpus, --pids-limit and the like: control groups where there are any, else the nearest thing, in words."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping

from tiffin.builder.containers.confinement.spec import Confinement, Ulimit
from tiffin.builder.containers.container import SHORT_ID_LENGTH, Container
from tiffin.builder.containers.mounts import parse_size
from tiffin.builder.errors import UsageError
from tiffin.builder.sandbox.cgroup import MAX_BLKIO, MIN_BLKIO, Groups, find_trees, make_groups, remove_groups
from tiffin.builder.sandbox.cgroup_limits import Limits as Limits

MIN_MEMORY_BYTES = 6 << 20  # Docker's
OWN_TASKS = 5  # of tiffin in the container's user namespace, counted by RLIMIT_NPROC
SYSTEMD_RUN = ("/usr/bin/systemd-run", "/bin/systemd-run")
IN_SCOPE = "TIFFIN_IN_SCOPE"  # set when systemd has begun us anew: not again
MAX_PROCESSOR = 1 << 13  # the kernel's own limit
_WITHOUT_GROUP = {"cpu": "--cpu-shares", "cpuset": "--cpuset-mems", "blkio": "--blkio-weight"}


def parse_limits(
    *,
    memory: str = "",
    swap: str = "",
    reservation: str = "",
    cpus: str = "",
    shares: int = 0,
    period: int = 0,
    quota: int = 0,
    cpuset: str = "",
    nodes: str = "",
    pids: int = 0,
    weight: int = 0,
) -> Limits:
    """Return the options as limits, by Docker's rules. Raises UsageError."""
    memory_bytes, reserved_bytes = _memory("--memory", memory), _memory("--memory-reservation", reservation)
    swap_bytes = -1 if swap == "-1" else parse_size(swap) if swap else 2 * memory_bytes
    if swap and not memory:
        raise UsageError("--memory-swap needs --memory", remedy="give both")
    if 0 <= swap_bytes < memory_bytes:
        raise UsageError("--memory-swap is memory and swap together", remedy="give no less than --memory")
    if memory_bytes and reserved_bytes > memory_bytes:
        raise UsageError("--memory-reservation is more than --memory", remedy="give no more than --memory")
    _check_shares(cpus, shares, period, quota, weight)
    if cpuset:
        cpus_of(cpuset)
    return Limits(
        memory_bytes=memory_bytes,
        swap_bytes=swap_bytes,
        reserved_bytes=reserved_bytes,
        cpus=_cpus(cpus),
        cpu_shares=shares,
        cpu_period=period,
        cpu_quota=quota,
        cpuset=cpuset,
        memory_nodes=nodes,
        pids=max(pids, 0),
        blkio_weight=weight,
    )


def _check_shares(cpus: str, shares: int, period: int, quota: int, weight: int) -> None:
    if cpus and (period or quota):
        raise UsageError("--cpus and --cpu-period or --cpu-quota do not go together", remedy="keep --cpus")
    if (period and not 1000 <= period <= 1_000_000) or 0 < quota < 1000:
        raise UsageError("--cpu-period is 1000 to 1000000 microseconds, --cpu-quota at least 1000", remedy="use --cpus")
    if weight and not MIN_BLKIO <= weight <= MAX_BLKIO:
        raise UsageError(f"--blkio-weight is {MIN_BLKIO} to {MAX_BLKIO}", remedy="write --blkio-weight 500")
    if shares < 0:
        raise UsageError("--cpu-shares is not negative", remedy="write --cpu-shares 512")


def _memory(option: str, text: str) -> int:
    size = parse_size(text) if text else 0
    if text and size < MIN_MEMORY_BYTES:
        raise UsageError(f"{option} {text} is less than a container can have", remedy="give at least 6m")
    return size


def cpus_of(text: str) -> tuple[int, ...]:
    """Return the processors of a list such as 0-2,4. Raises UsageError for what this machine does not have."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash) and len(part) < 12):
            raise UsageError(f'--cpuset-cpus "{text}" is not a list of processors', remedy="write it like 0-2,4")
        found |= set(range(int(first), min(int(last or first), MAX_PROCESSOR) + 1))
    here = os.sched_getaffinity(0)
    if not found or not found <= here:
        raise UsageError(
            f"--cpuset-cpus {text}: this machine does not have all of these processors",
            remedy=f"choose among {','.join(map(str, sorted(here)))}",
        )
    return tuple(sorted(found))


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
    groups = make_groups(limits, f"tiffin-{container.state.id[:SHORT_ID_LENGTH]}", find_trees())
    container.hold_groups(groups.paths)
    return with_substitutes(groups, limits)


def with_substitutes(groups: Groups, limits: Limits) -> Confinement:
    """Return what a sandbox is given: its groups, and for what they cannot do limits of each process."""
    ulimits: list[Ulimit] = []
    cpu_count = 0
    cpus: tuple[int, ...] = ()
    instead = []
    for name in groups.missing:
        match name:
            case "memory" if limits.memory_bytes:
                ulimits.append(("data", limits.memory_bytes, limits.memory_bytes))
                instead.append("memory is limited for each process, not for all together")
            case "memory":
                instead.append("no memory is reserved")
            case "pids":
                ulimits.append(("nproc", limits.pids + OWN_TASKS, limits.pids + OWN_TASKS))
                instead.append("processes are counted by user")
            case "cpuset" if limits.cpuset:
                cpus = cpus_of(limits.cpuset)
                instead.append(f"the command begins on the processors {limits.cpuset}")
            case "cpu" if limits.quota()[0]:
                quota, period = limits.quota()
                cpu_count = min(-(-quota // period), len(os.sched_getaffinity(0)))
                instead.append(f"the command has {cpu_count} of this machine's processors")
            case _:
                instead.append(f"{_WITHOUT_GROUP[name]} has no effect")
    warning = f"no control group may be made here: {'; '.join(instead)}" if instead else ""
    return Confinement(groups=groups.paths, ulimits=tuple(ulimits), cpu_count=cpu_count, cpus=cpus, warning=warning)


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
