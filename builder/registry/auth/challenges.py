"""What a registry asks for: the challenges of WWW-Authenticate (RFC 9110 section 11.6.1). No sockets here."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tiffin.cache.foundation.frozen import dataclass

MAX_HEADER_CHARACTERS = 16 << 10
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SCHEME = re.compile(rf"({_TOKEN})(?:[ \t]+[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|$)))?")  # with what Negotiate adds
_BETWEEN = re.compile(r"[\s,]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One way to authenticate."""

    scheme: str  # lower case
    parameters: Mapping[str, str]


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Read `Bearer realm="…",service="…", Basic realm="…"`, also of several headers joined by commas; what is
    unreadable is left out.
    """
    header = header[:MAX_HEADER_CHARACTERS]
    found: list[tuple[str, dict[str, str]]] = []
    position = 0
    while (position := _BETWEEN.match(header, position).end()) < len(header):  # type: ignore[union-attr]  # matches nothing too
        match = _PARAMETER.match(header, position)
        if match and found:
            value = re.sub(r"\\(.)", r"\1", match[2]) if match[2] is not None else match[3]
            found[-1][1].setdefault(match[1].lower(), value)
        elif match := _SCHEME.match(header, position):
            found.append((match[1].lower(), {}))
        position = match.end() if match else position + 1
    return tuple(Challenge(scheme=scheme, parameters=parameters) for scheme, parameters in found)
