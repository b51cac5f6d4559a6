"""Local sockets that carry messages and descriptors between the processes of a run.

What `socket` is made of, without it: to import that takes a millisecond of every `tiffin run`.

Where the other side closed before it had read all, the kernel says so once (ECONNRESET), and gives what that side sent
last only to who asks again: here this is done, so that nobody's last words are lost.
"""

from __future__ import annotations

import array
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_DONTWAIT,
    MSG_PEEK,
    SCM_RIGHTS,
    SO_PEERCRED,
    SOCK_SEQPACKET,
    SOL_SOCKET,
)
from _socket import socket as Socket
from _socket import socketpair as _pair
from collections.abc import Sequence

__all__ = [
    "AF_UNIX", "MSG_DONTWAIT", "MSG_PEEK", "SOL_SOCKET", "SO_PEERCRED", "Socket", "accept", "hear", "pair", "receive",
    "send",
]  # fmt: skip


def pair() -> tuple[Socket, Socket]:
    """Return two ends of a line of messages (AF_UNIX, SOCK_SEQPACKET), closed when another program is executed."""
    return _pair(AF_UNIX, SOCK_SEQPACKET)


def accept(listener: Socket) -> Socket:
    """Take the next connection. Raises OSError."""
    fd, _ = listener._accept()  # type: ignore[attr-defined]  # what socket.socket.accept() is made of
    return Socket(fileno=fd)


def send(line: Socket, data: bytes, fds: Sequence[int]) -> None:
    """Send a message with copies of descriptors. Raises OSError."""
    line.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, array.array("i", fds))])


def hear(line: Socket, size_bytes: int) -> bytes:
    """Return the next message, b"" at the end of the line. Raises BlockingIOError where there is none yet, OSError."""
    try:
        return line.recv(size_bytes)
    except ConnectionResetError:
        return line.recv(size_bytes)


def receive(line: Socket, size_bytes: int, max_fds: int) -> tuple[bytes, list[int]]:
    """Return the next message, b"" at the end of the line, and the descriptors that came with it, which the caller
    closes.
    """
    space = CMSG_SPACE(max_fds * array.array("i").itemsize)
    try:
        data, ancillary, _, _ = line.recvmsg(size_bytes, space, MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        data, ancillary, _, _ = line.recvmsg(size_bytes, space, MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for _, _, raw in ancillary:
        fds.frombytes(raw[: len(raw) - len(raw) % fds.itemsize])
    return data, list(fds)
