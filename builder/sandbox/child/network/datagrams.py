"""Carry datagrams between clients of a port and a host of another network: each client has a socket there."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time

MAX_BYTES = 65535
IDLE_SECONDS = 90.0  # docker's
MAX_CLIENTS = 512
AT_ONCE = 64  # datagrams before others have their turn
Address = tuple[str, int]


class Datagrams:
    """A published port."""

    def __init__(self, selector: selectors.BaseSelector, outer: socket.socket, target: Address) -> None:
        self._selector = selector
        self._outer = outer
        self._target = target
        self._inner: dict[Address, socket.socket] = {}  # by client
        self._clients: dict[socket.socket, Address] = {}
        self._used: dict[Address, float] = {}
        selector.register(outer, selectors.EVENT_READ, self)

    def move(self, source: object) -> None:
        """Carry what a socket has. What cannot be sent is lost, as datagrams may be."""
        for _ in range(AT_ONCE):
            with contextlib.suppress(OSError):
                if source is self._outer:
                    data, client = self._outer.recvfrom(MAX_BYTES)
                    self._of(client).send(data)
                    continue
                assert isinstance(source, socket.socket)
                if source not in self._clients:
                    return
                data = source.recv(MAX_BYTES)
                self._used[self._clients[source]] = time.monotonic()
                self._outer.sendto(data, self._clients[source])
                continue
            return

    def _of(self, client: Address) -> socket.socket:
        """Return the socket of a client."""
        self._used[client] = time.monotonic()
        if client not in self._inner:
            if len(self._inner) >= MAX_CLIENTS:
                self._forget_idle()
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setblocking(False)
            sock.connect(self._target)
            self._inner[client], self._clients[sock] = sock, client
            self._selector.register(sock, selectors.EVENT_READ, self)
        return self._inner[client]

    def _forget_idle(self) -> None:
        """Forget who has sent nothing for long; at least whoever is silent longest."""
        limit = max(time.monotonic() - IDLE_SECONDS, min(self._used[client] for client in self._inner))
        for client in [client for client in self._inner if self._used[client] <= limit]:
            sock = self._inner.pop(client)
            del self._used[client], self._clients[sock]
            self._selector.unregister(sock)
            sock.close()
