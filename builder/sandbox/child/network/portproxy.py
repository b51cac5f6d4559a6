"""Carry TCP connections from listening sockets of one network to ports of another.

One thread, no copies kept: each direction has one buffer, and who reads slowly makes the other wait.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket

from tiffin.builder.sandbox.child.network.datagrams import Datagrams

BUFFER_BYTES = 1 << 16
LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
BACKLOG = 128
MAX_CONNECTIONS = 1024  # at once; others wait in the backlog. Each may hold two buffers
Target = int | tuple[str, int]  # a port of this network's loopback, or of a host in it
RETRY_SECONDS = 1  # where descriptors or memory lack, and nothing of ours may end to free some


def listen(address: str, port: int, protocol: str = "tcp") -> list[socket.socket]:
    """Return listening sockets, for both families where no address is given; raises OSError if there can be none."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    wanted = [(socket.AF_INET6 if ":" in address else socket.AF_INET, address)] if address else []
    wanted = wanted or [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]
    made: list[socket.socket] = []
    for family, host in wanted:
        try:
            sock = socket.socket(family, kind)
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((host, port))
            if kind == socket.SOCK_STREAM:
                sock.listen(BACKLOG)
            sock.setblocking(False)
            made.append(sock)
        except OSError:
            if not made:
                raise
    return made


class Pipe:
    """One direction of a connection."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.buffer = b""
        self.ended = False  # nothing more comes from the source
        self.done = False  # and the sink was told

    def move(self) -> None:
        """Read and write what can be without waiting; raises OSError when the connection is broken."""
        with contextlib.suppress(BlockingIOError):
            if not self.ended and not self.buffer:
                self.buffer = self.source.recv(BUFFER_BYTES)
                self.ended = not self.buffer
        with contextlib.suppress(BlockingIOError):
            if self.buffer:
                self.buffer = self.buffer[self.sink.send(self.buffer) :]
        if self.ended and not self.buffer and not self.done:
            self.sink.shutdown(socket.SHUT_WR)
            self.done = True


class Connection:
    """A client and the server inside; `connected` once the latter has answered."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.connected = False
        self.forgotten = False
        self.there, self.back = Pipe(client, server), Pipe(server, client)

    def wanted(self, sock: socket.socket) -> int:
        """Return the events to wait for on one of the sockets."""
        if not self.connected:
            return selectors.EVENT_WRITE if sock is self.server else 0
        out, into = (self.there, self.back) if sock is self.client else (self.back, self.there)
        reads = selectors.EVENT_READ if not out.ended and not out.buffer else 0
        return reads | (selectors.EVENT_WRITE if into.buffer else 0)

    @property
    def done(self) -> bool:
        return self.there.done and self.back.done


class Proxy:
    """Serves `listeners`, pairs of a socket and what it stands for in this network, until `stop` can be read."""

    def __init__(self, listeners: list[tuple[socket.socket, Target]], stop: socket.socket) -> None:
        self._selector = selectors.DefaultSelector()
        self._stop = stop
        self._listeners = [pair for pair in listeners if pair[0].type == socket.SOCK_STREAM]
        for sock, target in listeners:
            if sock.type == socket.SOCK_DGRAM and isinstance(target, tuple):
                Datagrams(self._selector, sock, target)
        self._connections = 0
        self._paused = True
        self._selector.register(stop, selectors.EVENT_READ, None)
        self._resume()

    def serve(self) -> None:
        while True:
            ready = self._selector.select(RETRY_SECONDS if self._paused else None)
            if not ready:
                self._resume()
            for key, _ in ready:
                if key.fileobj is self._stop:
                    return
                if isinstance(key.data, Connection):
                    self._go_on(key.data)
                elif isinstance(key.data, Datagrams):
                    key.data.move(key.fileobj)
                elif isinstance(key.fileobj, socket.socket):
                    self._accept(key.fileobj, key.data)

    def _accept(self, listener: socket.socket, target: Target) -> None:
        if self._paused:  # with the event of another listener, in the same round
            return
        try:
            with self._stop.dup():  # room for the second socket: who cannot be served stays in the backlog
                client, _ = listener.accept()
        except OSError as exc:
            if exc.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self._pause()
            return
        try:
            server = _connect(target)
        except OSError:  # others took that room: this client is told by the end of its connection
            client.close()
            self._pause()
            return
        if server is None:
            client.close()
            return
        client.setblocking(False)
        self._connections += 1
        self._watch(Connection(client, server))
        if self._connections == MAX_CONNECTIONS:
            self._pause()

    def _pause(self) -> None:
        """Leave new clients in the backlog: a listener that cannot be served would be readable again at once."""
        self._paused = True
        for sock, _ in self._listeners:
            self._selector.unregister(sock)

    def _resume(self) -> None:
        if self._paused and self._connections < MAX_CONNECTIONS:
            self._paused = False
            for sock, port in self._listeners:
                self._selector.register(sock, selectors.EVENT_READ, port)

    def _go_on(self, connection: Connection) -> None:
        if connection.forgotten:  # with the event of its other end, in the same round
            return
        try:
            if not connection.connected:
                code = connection.server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    raise OSError(code, "connect")
                connection.connected = True
            connection.there.move()
            connection.back.move()
        except OSError:
            self._forget(connection)
            return
        if connection.done:
            self._forget(connection)
        else:
            self._watch(connection)

    def _watch(self, connection: Connection) -> None:
        for sock in (connection.client, connection.server):
            events = connection.wanted(sock)
            known = sock in self._selector.get_map()
            if known and not events:
                self._selector.unregister(sock)
            elif known:
                self._selector.modify(sock, events, connection)
            elif events:
                self._selector.register(sock, events, connection)

    def _forget(self, connection: Connection) -> None:
        connection.forgotten = True
        for sock in (connection.client, connection.server):
            if sock in self._selector.get_map():
                self._selector.unregister(sock)
            sock.close()
        self._connections -= 1
        self._resume()


def _connect(target: Target) -> socket.socket | None:
    """Return a connection that is being made to a target, None where nobody listens; raises OSError."""
    places = [(socket.AF_INET, target)] if isinstance(target, tuple) else [(f, (host, target)) for f, host in LOOPBACKS]
    for family, place in places:
        server = socket.socket(family, socket.SOCK_STREAM)
        server.setblocking(False)
        if server.connect_ex(place) in (0, errno.EINPROGRESS):
            return server
        server.close()
    return None
