"""The listening socket of a sandbox whose only way out is the process that made it. Runs in a forked child."""

from __future__ import annotations

import os
from _socket import AF_INET, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET

from tiffin.builder.sandbox.child.fd_passing import Socket, send
from tiffin.builder.sandbox.child.root import step

BACKLOG = 128


def offer(line: int, port: int) -> None:
    """Listen in the network of this process, and send the socket over `line`, which is closed. Raises SetupError."""
    with step("listen for the way out of its network"):
        _offer(line, port)


def _offer(line: int, port: int) -> None:
    listener = Socket(AF_INET, SOCK_STREAM)
    listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(BACKLOG)
    with_line = Socket(fileno=os.dup(line))
    send(with_line, b"listens", [listener.fileno()])
    with_line.close()
    listener.close()
    os.close(line)
