"""Control groups for one container: found, made, limited, removed. Version 2 where it has the controllers, else 1.

A group lies below that of tiffin itself, or below one further up, where the kernel and the owner of the tree allow it
(cgroup-v2.rst, "Delegation" and "No Internal Process Constraint"). What goes into it is the command and its children,
so limits mean the container and nothing of ours.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator, Sequence

from tiffin.builder.sandbox.cgroup_limits import CONTROLLERS, Limits
from tiffin.cache.foundation.frozen import dataclass

REMOVE_WAIT_SECONDS = 2.0  # for the last tasks to leave the kernel's lists
OWN_GROUP = "tiffin"  # where tiffin goes itself when its group must have none but groups
_OTHER_NAMES = {"io": "blkio"}  # of version 2, and what they are called here
MAX_SHARES, MAX_WEIGHT = 262_144, 10_000  # of a processor, in version 1 and 2
MIN_BLKIO, MAX_BLKIO = 10, 1000


_FILES = {  # that tell whether a group has a controller
    ("memory", 2): "memory.max", ("memory", 1): "memory.limit_in_bytes", ("cpu", 2): "cpu.max",
    ("cpu", 1): "cpu.cfs_quota_us", ("pids", 2): "pids.max", ("pids", 1): "pids.max", ("cpuset", 2): "cpuset.cpus",
    ("cpuset", 1): "cpuset.cpus", ("blkio", 2): "io.stat", ("blkio", 1): "blkio.throttle.io_serviced",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """The directories of a container's groups, and the controllers for which there is none here."""

    paths: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A mounted hierarchy: where, which of its groups is the mount's root, and which is ours.

    Version 2 has names "".
    """

    path: str
    top: str
    own: str
    controllers: tuple[str, ...]
    version: int

    def lineage(self) -> Iterator[str]:
        """Yield our group's directory and those above it, up to the mount."""
        below = os.path.relpath(self.own, self.top) if _is_below(self.own, self.top) else "."
        directory = os.path.normpath(os.path.join(self.path, below))
        while True:
            yield directory
            if directory == self.path:
                return
            directory = os.path.dirname(directory)


def find_trees(proc: str = "/proc/self") -> tuple[Tree, ...]:
    """Return the hierarchies of this machine as a process sees them."""
    own: dict[str, str] = {}
    for line in _lines(f"{proc}/cgroup"):
        _, names, path = line.split(":", 2)
        own[names] = path
    trees = []
    for line in _lines(f"{proc}/mountinfo"):
        fields = line.split(" ")
        kind, _, options = fields[fields.index("-") + 1 :][:3]
        top, path = fields[3], fields[4].replace("\\040", " ")
        if kind == "cgroup2" and "" in own:
            controllers = tuple(_words(f"{path}/cgroup.controllers"))
            trees.append(Tree(path=path, top=top, own=own[""], controllers=controllers, version=2))
        elif kind == "cgroup":
            known = [names for names in own if names and set(names.split(",")) <= set(options.split(","))]
            trees += [
                Tree(path=path, top=top, own=own[names], controllers=tuple(names.split(",")), version=1)
                for names in known
            ]
    return tuple(trees)


def make_groups(limits: Limits, name: str, trees: Sequence[Tree]) -> Groups:
    """Make groups called `name` with `limits`, as far as that is allowed here; the caller removes them."""
    paths: list[str] = []
    missing = set(limits.controllers())
    for tree in sorted(trees, key=lambda tree: -tree.version):
        here = tuple(
            controller for controller in tree.controllers if _OTHER_NAMES.get(controller, controller) in missing
        )
        if not here:
            continue
        made = _make(tree, name, here)
        if made is None:
            continue
        paths.append(made)
        try:
            for controller in here:
                _limit(made, _OTHER_NAMES.get(controller, controller), limits, tree.version)
        except OSError:
            remove_groups([made])
            paths.remove(made)
            continue
        missing -= {_OTHER_NAMES.get(controller, controller) for controller in here}
    return Groups(paths=tuple(paths), missing=tuple(name for name in CONTROLLERS if name in missing))


def remove_groups(paths: Sequence[str]) -> bool:
    """Remove groups whose processes have ended; False if one is still there."""
    deadline = time.monotonic() + REMOVE_WAIT_SECONDS
    for path in paths:
        while True:
            try:
                os.rmdir(path)
            except FileNotFoundError:
                pass
            except OSError as exc:
                if exc.errno == errno.EBUSY and time.monotonic() < deadline:
                    time.sleep(0.002)
                    continue
                return False
            break
    return True


def change_limits(paths: Sequence[str], limits: Limits) -> tuple[str, ...]:
    """Give groups other limits; return the controllers for which none of them can be changed."""
    missing = []
    for controller in limits.controllers():
        for path in paths:
            version = 2 if os.path.exists(f"{path}/cgroup.controllers") else 1
            if not os.path.exists(f"{path}/{_FILES[controller, version]}"):
                continue
            if (
                controller == "memory" and version == 1 and limits.swap_bytes > 0
            ):  # which may be less than the new limit
                with contextlib.suppress(OSError):
                    _write(f"{path}/memory.memsw.limit_in_bytes", str(limits.swap_bytes))
            with contextlib.suppress(OSError):
                _limit(path, controller, limits, version)
                break
        else:
            missing.append(controller)
    return tuple(missing)


def has_killed(path: str) -> bool:
    """Tell whether the kernel killed a process of a group for want of memory."""
    for name in ("memory.events", "memory.oom_control"):
        for line in _lines(f"{path}/{name}"):
            word, _, count = line.partition(" ")
            if word == "oom_kill" and count.strip() != "0":
                return True
    return False


def _make(tree: Tree, name: str, controllers: Sequence[str]) -> str | None:
    """Return a new group in the lowest place that allows it and has the controllers."""
    for parent in tree.lineage():
        if not (os.access(parent, os.W_OK | os.X_OK) and os.access(f"{parent}/cgroup.procs", os.W_OK)):
            continue
        if tree.version == 2 and not _distributes(parent, controllers):
            continue
        path = f"{parent}/{name}"
        with contextlib.suppress(OSError):
            os.mkdir(path, 0o755)
            return path
    return None


def _distributes(parent: str, controllers: Sequence[str]) -> bool:
    """Make a group of version 2 hand its controllers to the groups below it, if it may."""
    given = _words(f"{parent}/cgroup.subtree_control")
    lacking = [name for name in controllers if name not in given]
    if not lacking:
        return True
    if not set(lacking) <= set(_words(f"{parent}/cgroup.controllers")):
        return False
    for attempt in range(2):
        try:
            _write(f"{parent}/cgroup.subtree_control", " ".join(f"+{name}" for name in lacking))
            return True
        except OSError as exc:
            # a group with processes may not: where they are only we, we go one down
            if exc.errno != errno.EBUSY or attempt or not _step_down(parent):
                return False
    return False


def _step_down(parent: str) -> bool:
    if _words(f"{parent}/cgroup.procs") != [str(os.getpid())]:
        return False
    own = f"{parent}/{OWN_GROUP}-{os.getpid()}"
    try:
        os.mkdir(own, 0o755)
        _write(f"{own}/cgroup.procs", str(os.getpid()))
    except OSError:
        with contextlib.suppress(OSError):
            os.rmdir(own)
        return False
    return True


def _limit(path: str, controller: str, limits: Limits, version: int) -> None:
    """Write the limits of one controller; those of swap are not on every kernel."""
    match controller:
        case "memory":
            _limit_memory(path, limits, version)
        case "cpu":
            _limit_cpu(path, limits, version)
        case "cpuset":
            for name, value in (("cpus", limits.cpuset), ("mems", limits.memory_nodes)):
                if not value and version == 1:  # where a group has none of either, nobody may enter it
                    value = "".join(_lines(f"{os.path.dirname(path)}/cpuset.{name}"))
                if value:
                    _write(f"{path}/cpuset.{name}", value)
        case "blkio":
            _limit_blkio(path, limits.blkio_weight)
        case _:
            _write(f"{path}/pids.max", str(limits.pids))


def _limit_memory(path: str, limits: Limits, version: int) -> None:
    if limits.reserved_bytes:
        _write(f"{path}/memory.{'low' if version == 2 else 'soft_limit_in_bytes'}", str(limits.reserved_bytes))
    if not limits.memory_bytes:
        return
    if version == 2:
        _write(f"{path}/memory.max", str(limits.memory_bytes))
        swap = limits.swap_bytes - limits.memory_bytes
        with contextlib.suppress(OSError):
            _write(f"{path}/memory.swap.max", "max" if limits.swap_bytes < 0 else str(swap))
        return
    _write(f"{path}/memory.limit_in_bytes", str(limits.memory_bytes))
    with contextlib.suppress(OSError):
        _write(f"{path}/memory.memsw.limit_in_bytes", str(limits.swap_bytes))


def _limit_cpu(path: str, limits: Limits, version: int) -> None:
    quota, period = limits.quota()
    if limits.cpu_shares:
        weight = 1 + (max(limits.cpu_shares, 2) - 2) * (MAX_WEIGHT - 1) // (MAX_SHARES - 2)
        name, value = ("weight", weight) if version == 2 else ("shares", limits.cpu_shares)
        _write(f"{path}/cpu.{name}", str(value))
    if quota and version == 2:
        _write(f"{path}/cpu.max", f"{quota} {period}")
    elif quota:
        _write(f"{path}/cpu.cfs_period_us", str(period))
        _write(f"{path}/cpu.cfs_quota_us", str(quota))


def _limit_blkio(path: str, weight: int) -> None:
    """Write a weight where the kernel's scheduler of this machine has one. Raises OSError."""
    names = {
        "blkio.bfq.weight": weight,
        "blkio.weight": weight,
        "io.bfq.weight": weight,
        "io.weight": 1 + (weight - MIN_BLKIO) * (MAX_WEIGHT - 1) // (MAX_BLKIO - MIN_BLKIO),
    }
    name = next((name for name in names if os.path.exists(f"{path}/{name}")), "")
    if not name:
        raise OSError(errno.ENOTSUP, "no weight of block devices")
    _write(f"{path}/{name}", str(names[name]))


def _is_below(path: str, top: str) -> bool:
    return top == "/" or path == top or path.startswith(f"{top}/")


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except OSError:
        return []


def _words(path: str) -> list[str]:
    return " ".join(_lines(path)).split()


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
