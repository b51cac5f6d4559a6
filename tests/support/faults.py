"""A TCP proxy on loopback that misbehaves as told, between a client and a real server."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

BUFFER = 1 << 16


class Proxy:
    """`mode`: "" passes everything on; "hang" takes and says nothing; "reset" cuts after `after` bytes of answers;
    "drip" sends a byte a second; "delay" waits `seconds` before each answer, "slow" before each piece of one; or
    an HTTP status line with headers to answer with.
    """

    def __init__(self, target: int, host: str) -> None:
        self.mode = ""
        self.after = 0
        self.seconds = 0.0
        self.cut_after = -1  # bytes of questions, all together, after which one connection breaks; -1 for never
        self.connections = 0
        self.sent_bytes = 0  # of answers, all together
        self.turns = 0  # answers: how often the server began to speak after the client had
        self._lock = threading.Lock()  # guards the counts above
        self._target = target
        self._ended = threading.Event()
        self._listener = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if self.mode == "hang":
                self._ended.wait(30)
                return
            if self.mode.startswith("HTTP/"):
                client.recv(BUFFER)
                client.sendall(self.mode.encode() + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            with socket.create_connection(("127.0.0.1", self._target)) as server:
                spoke = threading.Event()
                up = threading.Thread(target=self._up, args=(client, server, spoke), daemon=True)
                up.start()
                self._down(server, client, spoke)

    def _up(self, client: socket.socket, server: socket.socket, spoke: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(BUFFER):
                spoke.set()
                server.sendall(data)
                if self._is_cut(len(data)):
                    for end in (client, server):
                        end.shutdown(socket.SHUT_RDWR)
            server.shutdown(socket.SHUT_WR)

    def _is_cut(self, passed: int) -> bool:
        with self._lock:
            if self.cut_after < 0:
                return False
            self.cut_after = max(-1, self.cut_after - passed)
            return self.cut_after < 0

    def _down(self, server: socket.socket, client: socket.socket, spoke: threading.Event) -> None:
        sent = 0
        while data := server.recv(BUFFER):
            begins = spoke.is_set()
            spoke.clear()
            if begins:
                with self._lock:
                    self.turns += 1
            if (self.mode == "delay" and begins) or self.mode == "slow":
                time.sleep(self.seconds)
            if self.mode == "drip":
                for number in range(len(data)):
                    if self._ended.wait(1):
                        return
                    client.sendall(data[number : number + 1])
            if self.mode == "reset" and sent + len(data) > self.after:
                client.sendall(data[: max(0, self.after - sent)])
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            client.sendall(data)
            sent += len(data)
            with self._lock:
                self.sent_bytes += len(data)


@contextlib.contextmanager
def faulty(target: int, host: str = "127.0.0.1") -> Iterator[Proxy]:
    """A proxy to a port of this machine, at an address of it."""
    proxy = Proxy(target, host)
    try:
        yield proxy
    finally:
        proxy.close()
