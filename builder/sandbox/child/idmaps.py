"""What an id map holds, and a namespace of one id made within another."""

from __future__ import annotations

import os
from collections.abc import Iterable

from tiffin.builder.sandbox.child import kernel

Extent = tuple[int, int, int]  # inside, outside, count


def own_extents(path: str) -> tuple[Extent, ...]:
    """Return the rows of a map in /proc."""
    with open(path, encoding="utf-8") as file:
        rows = [line.split() for line in file]
    return tuple((int(row[0]), int(row[1]), int(row[2])) for row in rows)


INITIAL_NAMESPACE = "user:[4026531837]"  # PROC_USER_INIT_INO


def is_initial() -> bool:
    """Tell whether this process is in no user namespace but the machine's."""
    return os.readlink("/proc/self/ns/user") == INITIAL_NAMESPACE


def own_limits() -> tuple[int, int]:
    """Return the first uid and the first gid that this process's own namespace lacks."""
    return first_missing(own_extents("/proc/self/uid_map")), first_missing(own_extents("/proc/self/gid_map"))


def first_missing(extents: Iterable[Extent]) -> int:
    """Return the first id a map does not hold."""
    limit = 0
    for inside, _, count in sorted(extents):
        if inside > limit:
            break
        limit = inside + count
    return limit


def become_root_of_sandbox() -> None:
    """Become, in a process of a sandbox, the namespace's root, whose all its files are."""
    if os.geteuid() != 0:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)


def keep_one_id() -> None:
    """Enter a user namespace that has root alone, in a process that is root of its own; raises OSError."""
    kernel.unshare(kernel.CLONE_NEWUSER)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # else these files are those of the machine's root
    for name, text in (("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1")):
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
