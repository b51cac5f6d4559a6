"""Published ports: Docker's -p [IP:][HOST:]CONTAINER[/PROTOCOL], with ranges, and how they are shown."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence

from tiffin.builder.containers.environment import is_address
from tiffin.builder.errors import SandboxError, UsageError
from tiffin.builder.sandbox.child.spec import ANY, Port
from tiffin.cache.foundation.frozen import replace

PROTOCOLS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
MAX_PORT = 65535


def parse_ports(texts: Sequence[str]) -> tuple[Port, ...]:
    """Return the ports of all -p; raises UsageError."""
    return tuple(port for text in texts for port in _parse(text))


def _parse(text: str) -> list[Port]:
    rest, slash, protocol = text.partition("/")
    protocol = protocol if slash else "tcp"
    if protocol not in PROTOCOLS:
        raise _wrong(text, f'protocol "{protocol}" is not tcp or udp')
    address, host, container = "", "", rest
    if ":" in rest:
        head, _, container = rest.rpartition(":")
        if ":" in head or (head.startswith("[") and head.endswith("]")):
            address, _, host = head.rpartition(":")
        else:
            host = head
    address = address.removeprefix("[").removesuffix("]")
    if address and not is_address(address):
        raise _wrong(text, f'"{address}" is not a valid address')
    inside = _range(text, container)
    outside = _range(text, host) if host else [0] * len(inside)
    if len(inside) != len(outside):
        raise _wrong(text, "the ranges have different lengths")
    return [
        Port(container=target, host=source, address=address, protocol=protocol)
        for source, target in zip(outside, inside, strict=True)
    ]


def _range(text: str, part: str) -> list[int]:
    first, dash, last = part.partition("-")
    if not (first.isdecimal() and (last.isdecimal() or not dash)):
        raise _wrong(text, f'"{part}" is not a valid port')
    low, high = int(first), int(last or first)
    if not 1 <= low <= high <= MAX_PORT:
        raise _wrong(text, f"ports are 1 to {MAX_PORT}")
    return list(range(low, high + 1))


def _wrong(text: str, why: str) -> UsageError:
    return UsageError(f"-p {text}: {why}", remedy="write [IP:]HOST:CONTAINER[/tcp|udp]")


def claim(ports: Sequence[Port]) -> tuple[Port, ...]:
    """Return the ports with every host port chosen; raises SandboxError for one that cannot be had."""
    return tuple(replace(port, host=_claimed(port)) for port in ports)


def _claimed(port: Port) -> int:
    family = socket.AF_INET6 if ":" in port.address else socket.AF_INET
    with socket.socket(family, PROTOCOLS[port.protocol]) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((port.address or ANY, port.host))
        except OSError as exc:
            where = f"{port.address or ANY}:{port.host}"
            if exc.errno == errno.EACCES:
                remedy = "use a port from 1024 up, or lower sysctl net.ipv4.ip_unprivileged_port_start"
            else:
                remedy = "publish another port, or stop the program that uses this one"
            reason = os.strerror(exc.errno or 0).lower()
            raise SandboxError(f"cannot publish {where}/{port.protocol}: {reason}", remedy=remedy) from exc
        return int(probe.getsockname()[1])
