"""--security-opt of build and run, as Docker spells it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.frozen import dataclass

OPTIONS = "seccomp=FILE|unconfined, no-new-privileges[=true|false], systempaths=unconfined"
NOT_APPLIED = {  # what tiffin never confines by: only that may be asked for
    ("apparmor", "unconfined"),
    ("label", "disable"),
}
_SEPARATORS = "=:"  # the second is Docker's old one


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityOptions:
    """`seccomp`: "" the own profile, "unconfined", or an absolute path. `unmasked`: all of /proc and /sys."""

    seccomp: str = ""
    no_new_privs: bool = False
    unmasked: bool = False


def parse_security(texts: Sequence[str], directory: Path) -> SecurityOptions:
    """Parse --security-opt: the last of each kind counts; paths are taken from `directory`. Raises UsageError."""
    seccomp, no_new_privs, unmasked = "", False, False
    for text in texts:
        cut = min((place for mark in _SEPARATORS if (place := text.find(mark)) >= 0), default=len(text))
        name, value = text[:cut], text[cut + 1 :]
        match name:
            case "seccomp" if value in ("unconfined", "builtin"):
                seccomp = "" if value == "builtin" else value
            case "seccomp" if value:
                seccomp = _profile(directory / value)
            case "no-new-privileges" if value in ("", "true", "false"):
                no_new_privs = value != "false"
            case "systempaths" if value == "unconfined":
                unmasked = True
            case "apparmor" | "label" if (name, value) not in NOT_APPLIED:
                raise UsageError(f"--security-opt {text}: tiffin applies no {name} profile", remedy="leave it out")
            case "apparmor" | "label":
                continue
            case _:
                raise UsageError(f'--security-opt "{text}" is unknown', remedy=f"use {OPTIONS}")
    return SecurityOptions(seccomp=seccomp, no_new_privs=no_new_privs, unmasked=unmasked)


def _profile(path: Path) -> str:
    if not path.is_file():
        raise UsageError(f"--security-opt seccomp={path}: the file does not exist", remedy="name a profile in JSON")
    return str(path)
