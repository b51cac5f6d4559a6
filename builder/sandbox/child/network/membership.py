"""Attach the network of a sandbox to networks that other processes are.

A published port is listened at from the machine's network, before the sandbox has one of its own, and given away.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence

from tiffin.builder.sandbox.child.fd_passing import hear
from tiffin.builder.sandbox.child.network.portproxy import listen
from tiffin.builder.sandbox.child.spec import Membership, Port

MAX_MESSAGE_BYTES = 32 << 10
MAX_FDS = 200  # of one message; the kernel's limit is 253
OWN_NETWORK = "/proc/self/ns/net"


class Attachments:
    """The networks of a sandbox, connected and not attached yet."""

    def __init__(self, memberships: Sequence[Membership]) -> None:
        self._lines = [(connect(item.socket), item.request) for item in memberships]
        self._listeners = [_listeners(item.ports) for item in memberships]

    def attach(self) -> None:
        """Have the network that this process is in now attached to all of them. Raises OSError."""
        own = os.open(OWN_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
        for (line, request), listeners in zip(self._lines, self._listeners, strict=True):
            members = json.loads(request)
            _give(line, members["id"], listeners)
            ask(line, members, [own])
            line.close()
        os.close(own)


def publish(line: socket.socket, identity: str, ports: Sequence[Port], *, at_once: bool) -> None:
    """Listen at ports of a container, for a network that it is attached to next, or already. Raises OSError."""
    _give(line, identity, _listeners(ports), "carry" if at_once else "publish")


def _listeners(ports: Sequence[Port]) -> list[tuple[socket.socket, int]]:
    return [(sock, port.container) for port in ports for sock in listen(port.address, port.host, port.protocol)]


def _give(
    line: socket.socket, identity: str, listeners: Sequence[tuple[socket.socket, int]], what: str = "publish"
) -> None:
    for start in range(0, len(listeners), MAX_FDS):
        part = listeners[start : start + MAX_FDS]
        asked: dict[str, object] = {"do": what, "id": identity, "ports": [number for _, number in part]}
        ask(line, asked, [sock.fileno() for sock, _ in part])
    for sock, _ in listeners:
        sock.close()


def connect(path: str) -> socket.socket:
    """Connect to the process of a network. Raises OSError."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # a path may be too long
    try:
        line.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
    except BaseException:
        line.close()
        raise
    finally:
        os.close(folder)
    return line


def ask(line: socket.socket, members: dict[str, object], fds: Sequence[int] = ()) -> dict[str, object]:
    """Ask for something, with descriptors, and return the answer. Raises OSError for a refusal."""
    socket.send_fds(line, [json.dumps(members).encode()], list(fds))
    answer: dict[str, object] = json.loads(hear(line, MAX_MESSAGE_BYTES) or b'{"error": "its process ended"}')
    if "error" in answer:
        raise OSError(0, str(answer["error"]))
    return answer
