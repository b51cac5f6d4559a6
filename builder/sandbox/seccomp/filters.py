"""The seccomp filter of a sandbox: tiffin's own profile, one from a file, or none; made once and kept.

The own profile, seccomp.json, is an allow list with the meaning of Docker's. A filter depends on the profile, the
capabilities, the kernel and the machine; finding it again costs reading two small files.
"""

from __future__ import annotations

import binascii
import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from tiffin.builder.errors import SandboxError, StoreError, UsageError
from tiffin.cache.foundation.files import write_atomically
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.sha256 import short_sha256

UNCONFINED = "unconfined"
BUILTIN = "builtin"  # Docker's name for the default
DEFAULT_PROFILE = os.path.join(os.path.dirname(__file__), "seccomp.json")
MAX_PROFILE_BYTES = 1 << 20
FORMAT = b"1"  # of kept filters; changes with what the compiler makes of a profile
MAX_KEPT = 64  # filters in the folder; then it is emptied
_FLAGS_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A filter for seccomp(2): struct sock_filter, and flags. An empty program is none."""

    program: bytes = b""
    flags: int = 0

    @property
    def text(self) -> str:
        """The program as a SandboxSpec carries it."""
        return binascii.b2a_base64(self.program, newline=False).decode()


def has_profile(choice: str) -> bool:
    """Whether a choice is the path of a profile."""
    return choice not in ("", BUILTIN, UNCONFINED)


def profile_of(path: str) -> bytes:
    """Return the content of a profile. Raises UsageError for what cannot be read."""
    return _read(path)


def filter_for(choice: str, capabilities: Sequence[str], kept: Path) -> Filter:
    """Return the filter of `choice`: "" or "builtin", "unconfined", or the path of a profile; filters are kept below
    `kept`.

    Raises UsageError for a profile that is none, SandboxError on a machine whose system calls are not known.
    """
    if choice == UNCONFINED:
        return Filter()
    path = DEFAULT_PROFILE if choice in ("", BUILTIN) else choice
    data = _read(path)
    release, machine = os.uname().release, os.uname().machine
    parts = (FORMAT, data, " ".join(sorted(capabilities)).encode(), release.encode(), machine.encode())
    digest = short_sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts))
    with contextlib.suppress(OSError):
        found = (kept / digest).read_bytes()
        return Filter(program=found[_FLAGS_BYTES:], flags=int.from_bytes(found[:_FLAGS_BYTES], "big"))
    made = _compile(data, path, capabilities, release, machine)
    _keep(kept, digest, made)
    return made


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_PROFILE_BYTES + 1)
    except OSError as exc:
        raise UsageError(
            f"cannot read the seccomp profile {path}: {exc.strerror}",
            remedy="name a file, or write --security-opt seccomp=unconfined",
        ) from exc
    if len(data) > MAX_PROFILE_BYTES:
        raise UsageError(f"the seccomp profile {path} is larger than a profile can be", remedy="name another file")
    return data


def _compile(data: bytes, path: str, capabilities: Sequence[str], release: str, machine: str) -> Filter:
    from tiffin.builder.sandbox.seccomp.compiler import build_filter
    from tiffin.builder.sandbox.seccomp.profile import Situation, read_profile
    from tiffin.builder.sandbox.seccomp.syscalls_compat import NATIVE

    if machine not in NATIVE:
        raise SandboxError(
            f"tiffin does not know the system calls of {machine}", remedy="add --security-opt seccomp=unconfined"
        )
    version = re.match(r"(\d+)\.(\d+)", release)
    kernel = (int(version[1]), int(version[2])) if version else (0, 0)
    profile = read_profile(data, Situation(capabilities=frozenset(capabilities), kernel=kernel, machine=machine), path)
    try:
        return Filter(program=build_filter(profile), flags=profile.flags)
    except ValueError as exc:
        raise UsageError(f"the seccomp profile {path} is too long: {exc}", remedy="use fewer conditions") from exc


def _keep(kept: Path, digest: str, made: Filter) -> None:
    """Try to keep a filter; one that was not kept is made again."""
    with contextlib.suppress(OSError, StoreError):
        kept.mkdir(mode=0o700, exist_ok=True)
        names = os.listdir(kept)
        if len(names) >= MAX_KEPT:
            for name in names:
                (kept / name).unlink(missing_ok=True)
        write_atomically(kept / digest, made.flags.to_bytes(_FLAGS_BYTES, "big") + made.program)
