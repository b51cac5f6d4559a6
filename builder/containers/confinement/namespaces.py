"""--ipc, --pid, --uts, --cgroupns and --sysctl: which namespaces of the machine a container has."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.containers.confinement.asked import CONTAINER, HOST, NONE, PRIVATE, SHAREABLE, Namespaces
from tiffin.builder.errors import UsageError

CHOICES = {
    "ipc": (HOST, PRIVATE, SHAREABLE, NONE),
    "pid": (HOST, PRIVATE),
    "uts": (HOST, PRIVATE),
    "cgroupns": (HOST, PRIVATE),
}
OF_OTHERS = ("ipc", "pid")  # those that may be another container's
# of the IPC namespace, docker's list; the rest of kernel.* is the machine's
_OF_IPC = frozenset(
    f"kernel.{name}" for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)
_OF_UTS = frozenset(("kernel.domainname", "kernel.hostname"))


def parse_namespaces(*, ipc: str, pid: str, uts: str, cgroupns: str, hostname: str = "") -> Namespaces:
    """Read the options. Raises UsageError."""
    for option, text in (("ipc", ipc), ("pid", pid), ("uts", uts), ("cgroupns", cgroupns)):
        if text.startswith(CONTAINER) and option in OF_OTHERS:
            continue
        if text and text not in CHOICES[option]:
            raise UsageError(f'--{option} "{text}" is not supported', remedy=f"use {', '.join(CHOICES[option])}")
    if uts == HOST and hostname:
        raise UsageError("--hostname and --uts host do not go together", remedy="leave out one of them")
    return Namespaces(ipc=ipc, pid=pid, uts=uts, cgroup=cgroupns)


def parse_sysctls(texts: Sequence[str], namespaces: Namespaces, *, has_network: bool) -> tuple[tuple[str, str], ...]:
    """Read --sysctl NAME=VALUE; what is the machine's is refused, by name. Raises UsageError."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.replace("/", ".")
        if not equals or not name or ".." in name:
            raise UsageError(f'--sysctl "{text}" is not NAME=VALUE', remedy="write --sysctl net.ipv4.ip_forward=1")
        reason = _refusal(name, namespaces, has_network=has_network)
        if reason:
            raise UsageError(f"--sysctl {name}: {reason[0]}", remedy=reason[1])
        found[name] = value
    return tuple(found.items())


def _refusal(name: str, namespaces: Namespaces, *, has_network: bool) -> tuple[str, str] | None:
    """Return why a sysctl cannot be set, and what to do."""
    if name.startswith("net."):
        return None if has_network else ("the network is this machine's", "add --network private")
    if name in _OF_IPC or name.startswith("fs.mqueue."):
        return None if namespaces.ipc != HOST else ("the IPC namespace is this machine's", "leave out --ipc host")
    if name in _OF_UTS:
        return None if namespaces.uts != HOST else ("the UTS namespace is this machine's", "leave out --uts host")
    return "it is in no namespace of a container, so it would change this machine", "leave it out"
