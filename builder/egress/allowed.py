"""Where steps may connect."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from fnmatch import fnmatchcase

from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.frozen import dataclass

ALLOW, DENY, LIST = "allow", "deny", "list"


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """What --egress says. `hosts`: patterns, with a port or without; `everywhere`: it is only listed."""

    hosts: tuple[str, ...] = ()
    everywhere: bool = False

    def allows(self, host: str, port: int) -> bool:
        """Whether a step may connect there."""
        name = host.lower().rstrip(".")
        return self.everywhere or any(
            fnmatchcase(name, pattern) or fnmatchcase(f"{name}:{port}", pattern) for pattern in self.hosts
        )


def parse_egress(texts: Sequence[str]) -> Egress | None:
    """Parse --egress allow=HOST,… | deny | list; None where it is not given. Raises UsageError."""
    hosts: list[str] = []
    kinds = set()
    for text in texts:
        kind, equals, value = text.partition("=")
        names = [name.strip().lower() for name in value.split(",") if name.strip()]
        if kind not in (ALLOW, DENY, LIST) or (kind == ALLOW) != bool(names) or (equals and kind != ALLOW):
            raise UsageError(f"--egress {text} is not understood", remedy="write allow=HOST,… or deny or list")
        if any("/" in name for name in names):
            raise UsageError(f"--egress {text}: a host has no path", remedy="write a name, *.NAME, or NAME:PORT")
        kinds.add(kind)
        hosts += names
    if len(kinds) > 1:
        raise UsageError(f"--egress: {' and '.join(sorted(kinds))} exclude each other", remedy="use one of them")
    if not kinds:
        return None
    return Egress(hosts=tuple(dict.fromkeys(hosts)), everywhere=kinds == {LIST})


class Connections:
    """Where steps connected, and where they wanted to; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: set[str] = set()
        self._refused: set[str] = set()

    def note(self, host: str, port: int, *, allowed: bool) -> None:
        """Note one."""
        with self._lock:
            (self._made if allowed else self._refused).add(f"{host}:{port}")

    def made(self) -> list[str]:
        """Return the places, as HOST:PORT."""
        with self._lock:
            return sorted(self._made)

    def refused(self) -> list[str]:
        """Return those that were refused."""
        with self._lock:
            return sorted(self._refused)
