"""Which foreign architectures this machine runs programs of: its own, and those with an interpreter in binfmt_misc."""

from __future__ import annotations

import os
import platform

REGISTRATIONS = "/proc/sys/fs/binfmt_misc"
# e_machine of ELF, as the two bytes at offset 18 have it
_MACHINES = {
    "386": b"\x03\x00",
    "amd64": b"\x3e\x00",
    "arm": b"\x28\x00",
    "arm64": b"\xb7\x00",
    "riscv64": b"\xf3\x00",
    "ppc64le": b"\x15\x00",
    "s390x": b"\x00\x16",
    "mips64le": b"\x08\x00",
    "loong64": b"\x02\x01",
}
_NATIVE = {"x86_64": ("amd64", "386"), "aarch64": ("arm64",), "armv7l": ("arm",), "armv6l": ("arm",)}
_MACHINE_OFFSET = 18


ARCHITECTURES = tuple(_MACHINES)  # Go's names


def can_run(architecture: str, registrations: str = REGISTRATIONS) -> bool:
    """Whether a program for `architecture` (Go's name) starts in a sandbox of this machine.

    An interpreter counts only with the flag F: opened when it was registered, it is there in every root.
    """
    machine = platform.machine()
    if architecture in _NATIVE.get(machine, (machine,)):
        return True
    wanted = _MACHINES.get(architecture)
    if wanted is None:
        return False
    try:
        names = os.listdir(registrations)
    except OSError:
        return False
    return any(_interprets(os.path.join(registrations, name), wanted) for name in names)


def _interprets(path: str, machine: bytes) -> bool:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            lines = file.read(8192).splitlines()
    except OSError:
        return False
    fields = {name.rstrip(":"): value for name, _, value in (line.partition(" ") for line in lines)}
    try:
        magic = bytes.fromhex(fields.get("magic", ""))
    except ValueError:
        return False
    enabled = "enabled" in lines and "F" in fields.get("flags", "") and fields.get("offset", "0") == "0"
    return enabled and magic[_MACHINE_OFFSET : _MACHINE_OFFSET + 2] == machine
