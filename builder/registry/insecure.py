"""Registries that the user named insecure: they may speak plain http, or show a certificate that nobody vouches for."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from fnmatch import fnmatchcase

from tiffin.builder.errors import UsageError

_NAME = re.compile(r"[\w.*?-]+|\[[0-9A-Fa-f:.*]+\]")


def checked_pattern(text: str, source: str) -> str:
    """Return `text` as a pattern: HOST, HOST:PORT, a wildcard such as *.corp.example, or a network such as 10.0.0.0/8.
    A scheme before it and a slash behind it are left out. Raises UsageError naming `source`.
    """
    pattern = text.strip().rpartition("://")[2].rstrip("/").lower()
    host, port = _split(pattern)
    if _network(pattern) is None and not (_NAME.fullmatch(host) and (not port or port == "*" or port.isdigit())):
        raise UsageError(
            f'{source}: "{text}" is neither a host nor a network',
            remedy="write HOST, HOST:PORT, *.DOMAIN or a network such as 10.0.0.0/8",
        )
    return pattern


def is_insecure(registry: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns names `registry` (HOST or HOST:PORT).

    One without a port is for all ports; a network is for hosts with an address in it.
    """
    if not patterns:
        return False
    name, number = _split(registry.lower())
    for pattern in patterns:
        network = _network(pattern)
        if network is not None:
            if any(address in network for address in _addresses(name.strip("[]"))):
                return True
            continue
        host, port = _split(pattern.lower())
        if fnmatchcase(name.replace("[", "").replace("]", ""), host.replace("[", "").replace("]", "")) and (
            not port or fnmatchcase(number, port)
        ):
            return True
    return False


def _split(text: str) -> tuple[str, str]:
    """Split into host and port, "" for none; an IPv6 address has brackets."""
    host, colon, port = text.rpartition(":")
    return (host, port) if colon and not text.endswith("]") else (text, "")


def _network(pattern: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(pattern, strict=False) if "/" in pattern else None
    except ValueError:
        return None


def _addresses(host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        return [ipaddress.ip_address(str(item[4][0]).split("%")[0]) for item in socket.getaddrinfo(host, None)]
    except (OSError, UnicodeError):
        return []
