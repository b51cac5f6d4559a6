"""Short forms as the long ones they stand for: ports, volumes, devices."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from tiffin.builder.compose.places import Map, Place

_PROPAGATIONS = ("rprivate", "private", "rshared", "shared", "rslave", "slave")
MAX_PORT = 65535


def ports(text: str, place: Place) -> list[Map]:
    """Return what [[IP:][HOST]:]CONTAINER[/PROTOCOL] publishes, one for each port. Raises ValueError."""
    rest, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in ("tcp", "udp", "sctp"):
        raise ValueError(f'"{text}": protocol "{protocol}" is not tcp or udp')
    head, _, container = rest.rpartition(":")
    address, host = "", head
    if ":" in head:
        address, _, host = head.rpartition(":")
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    inside = _range(text, container)
    outside = _range(text, host) if host else []
    if outside and len(outside) != len(inside) and len(inside) > 1:
        raise ValueError(f'"{text}": the ranges have different lengths')
    result = []
    for number, target in enumerate(inside):
        item = Map([("mode", "ingress", place)])
        if address:
            item.put("host_ip", address, place)
        item.put("target", target, place)
        if outside:
            alone = len(inside) == 1 and len(outside) > 1  # a range to choose from
            item.put("published", f"{outside[0]}-{outside[-1]}" if alone else str(outside[number]), place)
        item.put("protocol", protocol, place)
        result.append(item)
    return result


def _range(text: str, part: str) -> range:
    match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", part)
    if match is None:
        raise ValueError(f'"{text}": "{part}" is not a port, nor a range of ports')
    low, high = int(match[1]), int(match[2] or match[1])
    if not 0 <= low <= high <= MAX_PORT:
        raise ValueError(f'"{text}": ports are 1 to {MAX_PORT}')
    return range(low, high + 1)


def volume(text: str, place: Place) -> Map:
    """Return what [SOURCE:]TARGET[:OPTIONS] mounts. Raises ValueError."""
    parts = _parts(text)
    if not all(parts):
        raise ValueError(f'"{text}" has an empty section between colons')
    if len(parts) > 3:
        raise ValueError(f'"{text}" has too many colons')
    source = parts[0] if len(parts) > 1 else ""
    target = parts[1] if len(parts) > 1 else parts[0]
    is_path = source.startswith((".", "/", "~"))
    details = Map()
    result = Map([("type", "bind" if is_path else "volume", place)])
    if source:
        result.put("source", source, place)
    result.put("target", posixpath.normpath(target), place)
    for option in filter(None, (parts[2] if len(parts) == 3 else "").split(",")):
        _set_option(option, result, details, place)
    if is_path:
        details.put("create_host_path", True, place)
    result.put("bind" if is_path else "volume", details, place)
    return result


def _parts(text: str) -> list[str]:
    """Split at colons, but not within ${…}."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        if character == "{" and text[position - 1 : position] == "$":
            depth += 1
        elif character == "}" and depth:
            depth -= 1
        elif character == ":" and not depth:
            parts.append(text[start:position])
            start = position + 1
    return [*parts, text[start:]]


def _set_option(option: str, mount: Map, details: Map, place: Place) -> None:
    if option in ("ro", "rw"):
        if option == "ro":
            mount.put("read_only", True, place)
    elif option == "nocopy":
        details.put("nocopy", True, place)
    elif option in _PROPAGATIONS:
        details.put("propagation", option, place)
    elif option in ("z", "Z"):
        details.put("selinux", option, place)
    elif option not in ("cached", "delegated", "consistent"):  # hints for other machines
        raise ValueError(f'unknown option "{option}"')


def device(text: str, place: Place) -> Map:
    """Return what SOURCE[:TARGET[:PERMISSIONS]] gives. Raises ValueError."""
    parts = text.split(":")
    if len(parts) > 3:
        raise ValueError(f'"{text}" is not SOURCE[:TARGET[:PERMISSIONS]]')
    source = parts[0]
    target = parts[1] if len(parts) > 1 and parts[1] else source
    permissions = parts[2] if len(parts) > 2 else "rwm"
    return Map([("source", source, place), ("target", target, place), ("permissions", permissions, place)])


def key_values(items: Any) -> Map:
    """Return NAME=VALUE texts as a mapping; a name alone has nothing."""
    result = Map()
    for text, place in items.entries():
        name, equals, value = str(text).partition("=")
        result.put(name, value if equals else None, place)
    return result
