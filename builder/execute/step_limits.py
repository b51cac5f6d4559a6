"""What RUN may use of the machine: control groups that each step has for itself, else the nearest thing, in words."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tiffin.builder.containers.limits import with_substitutes
from tiffin.builder.sandbox.cgroup import Tree, find_trees, has_killed, make_groups, remove_groups
from tiffin.builder.sandbox.cgroup_limits import Limits
from tiffin.builder.sandbox.child.spec import SandboxSpec
from tiffin.cache.foundation.frozen import dataclass, replace

PREFIX = "tiffin-step-"  # of groups; the process of the build follows, and the number of the step


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """A sandbox that has its limits."""

    spec: SandboxSpec
    groups: tuple[str, ...]

    def lacked_memory(self) -> bool:
        """Tell whether the kernel killed something of it for want of memory."""
        return any(has_killed(path) for path in self.groups)


@contextmanager
def limited(spec: SandboxSpec, limits: Limits, number: int, warn: Callable[[str], object]) -> Iterator[Limited]:
    """Make the groups of a step for its time. `warn` is told what is less than was asked for."""
    trees = find_trees()
    for tree in trees:
        _remove_left(tree)
    groups = make_groups(limits, f"{PREFIX}{os.getpid()}-{number}", trees)
    try:
        confined = with_substitutes(groups, limits)
        if confined.warning:
            warn(confined.warning)
        yield Limited(
            spec=replace(
                spec,
                cgroup_dirs=confined.groups,
                ulimits=(*confined.ulimits, *spec.ulimits),
                cpu_count=confined.cpu_count,
                cpus=confined.cpus,
            ),
            groups=groups.paths,
        )
    finally:
        remove_groups(groups.paths)


def _remove_left(tree: Tree) -> None:
    """Remove the empty groups of builds that were killed."""
    for parent in tree.lineage():
        with suppress(OSError):
            for path in Path(parent).glob(f"{PREFIX}*"):
                if not Path("/proc", path.name.removeprefix(PREFIX).partition("-")[0]).exists():
                    with suppress(OSError):
                        path.rmdir()
