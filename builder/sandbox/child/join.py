"""Enter the sandbox of a command that runs, for another command in it. Runs in a forked child and stands alone.

Whoever made the sandbox's user namespace has all capabilities in it, so that nothing of this needs more than the user
has. Nothing is imported once the root is entered.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time

from tiffin.builder.sandbox.child import idmaps, kernel
from tiffin.builder.sandbox.child.command import forget_imports
from tiffin.builder.sandbox.child.root import step
from tiffin.builder.sandbox.child.spec import SandboxSpec
from tiffin.cache.foundation.signals import signal

NS_GET_PARENT = 0xB702  # ioctl_ns(2)
STAT_BYTES = 4096
PAUSE_SECONDS = 0.002
# in this order: the user namespace gives the right to enter the others, and the mounts take /proc away
KINDS = (
    ("user", kernel.CLONE_NEWUSER),
    ("ipc", kernel.CLONE_NEWIPC),
    ("uts", kernel.CLONE_NEWUTS),
    ("net", kernel.CLONE_NEWNET),
    ("cgroup", kernel.CLONE_NEWCGROUP),
    ("mnt", kernel.CLONE_NEWNS),
)


class Joined:
    """A sandbox that this process has entered. `groups` are its control groups' files; `limits` end its id map.

    `pids` is the pid namespace of its init, where this process's children are, and that of its command; none where it
    has that of this machine. `mounts` is the namespace of what is ended with the command.
    """

    def __init__(
        self, groups: list[int], pids: tuple[int, int] | None, limits: tuple[int, int] | None, mounts: str = ""
    ) -> None:
        self.groups = groups
        self.limits = limits
        self._pids = pids
        self._mounts = mounts

    def end(self) -> None:
        """End what the command left among the processes of the other sandbox: what has its mounts."""
        while self._mounts and sum(_kill_if_in(name, self._mounts) for name in os.listdir("/proc") if name.isdigit()):
            time.sleep(PAUSE_SECONDS)

    def fork_below(self) -> int:
        """Fork a process into the command's pid namespace."""
        if self._pids is None:
            return os.fork()
        outer, inner = self._pids
        with step("enter the pid namespace of the command"):
            kernel.setns(inner, kernel.CLONE_NEWPID)
        pid = os.fork()
        if pid:
            with step("return to the pid namespace of the sandbox"):
                kernel.setns(outer, kernel.CLONE_NEWPID)
        return pid


def enter(spec: SandboxSpec) -> Joined:
    """Enter all namespaces and the root of the process `joins`. Raises SetupError."""
    with step("look at the sandbox"):
        # all that is looked at is of one process: once it has ended, nothing more is found by this descriptor
        process = os.open(f"/proc/{spec.joins}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if start_of(process) != spec.joins_started or not _is_other(process, "mnt"):
            raise ProcessLookupError(errno.ESRCH, "its command has ended")
        groups = [os.open(f"{path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for path in spec.cgroup_dirs]
        namespaces = [(_open(process, name), kind) for name, kind in KINDS if _is_other(process, name)]
        pids = None
        if _is_other(process, "pid"):
            command_pids = _open(process, "pid")
            pids = fcntl.ioctl(command_pids, NS_GET_PARENT), command_pids  # its init lets nobody look into it
        root = os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=process)
        os.close(process)
    limits = None
    with step("enter the sandbox"):
        for descriptor, kind in namespaces:
            if kind == kernel.CLONE_NEWNS:
                limits = None if idmaps.is_initial() else idmaps.own_limits()
                forget_imports()
            kernel.setns(descriptor, kind)
            os.close(descriptor)
        os.fchdir(root)
        os.chroot(".")
        os.close(root)
        if pids is not None:
            kernel.setns(pids[0], kernel.CLONE_NEWPID)
    return Joined(groups, pids, limits)


def enter_shared(spec: SandboxSpec) -> None:
    """Enter the network and the IPC namespace that the sandbox has of another one. Raises SetupError."""
    for what, path, kind in (
        ("network", spec.joined_network, kernel.CLONE_NEWNET),
        ("IPC namespace", spec.joined_ipc and f"{spec.joined_ipc}/ns/ipc", kernel.CLONE_NEWIPC),
    ):
        if path:
            with step(f"enter the {what} of the other container"):
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                kernel.setns(descriptor, kind)
                os.close(descriptor)


def beside(spec: SandboxSpec) -> Joined:
    """Have children of this process in the namespace of the init whose sandbox has the pid namespace `joined_pids`.

    Raises SetupError.
    """
    with step("enter the pid namespace of the other container"):
        inner = os.open(f"{spec.joined_pids}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        outer = fcntl.ioctl(inner, NS_GET_PARENT)
        kernel.setns(outer, kernel.CLONE_NEWPID)
    with step("open the control group"):
        groups = [os.open(f"{path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for path in spec.cgroup_dirs]
    limits = None if idmaps.is_initial() else idmaps.own_limits()
    return Joined(groups, (outer, inner), limits, os.readlink("/proc/self/ns/mnt"))


def _kill_if_in(pid: str, mounts: str) -> bool:
    """Kill a process if it has a mount namespace; its directory in /proc, unlike its number, is that of no other.

    The init, whose mounts these are, is not in the /proc that they have.
    """
    with contextlib.suppress(OSError):
        process = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if os.readlink("ns/mnt", dir_fd=process) == mounts:
                signal.pidfd_send_signal(process, signal.SIGKILL)
                return True
        finally:
            os.close(process)
    return False


def watch(spec: SandboxSpec) -> int:
    """Open what can be read once the command `joins` has ended. Raises SetupError."""
    with step("look at the container"):
        pidfd = os.pidfd_open(spec.joins)
        process = os.open(f"/proc/{spec.joins}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if start_of(process) != spec.joins_started:
            raise ProcessLookupError(errno.ESRCH, "its command has ended")
        os.close(process)
    return pidfd


def start_of(process: int) -> str:
    """Return when a process began, by its open directory in /proc: ticks since boot tell it from later ones."""
    fd = os.open("stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process)
    try:
        return os.read(fd, STAT_BYTES).rpartition(b")")[2].split()[19].decode()
    finally:
        os.close(fd)


def _open(process: int, name: str) -> int:
    return os.open(f"ns/{name}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process)


def _is_other(process: int, name: str) -> bool:
    """Tell whether a process has a namespace of that name that is not ours."""
    return os.readlink(f"ns/{name}", dir_fd=process) != os.readlink(f"/proc/self/ns/{name}")
