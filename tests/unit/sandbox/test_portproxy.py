"""The proxy of published ports between sockets of this machine."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator

import pytest

from builder.containers.networks import choose_kind, connect
from builder.containers.ports import claim, parse_ports
from builder.errors import SandboxError, UsageError
from builder.sandbox.portproxy import Proxy, listen

SIZE = 3 << 20  # more than all buffers on the way
TIMEOUT_SECONDS = 20


class Published:
    """A proxy from a port of its own to `server`."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(TIMEOUT_SECONDS)
        listeners = listen("127.0.0.1", 0)
        self.address = listeners[0].getsockname()
        self.listeners = listeners
        self._stop, inner = socket.socketpair()
        self._inner = inner
        self._proxy = Proxy([(sock, self.server.getsockname()[1]) for sock in listeners], inner)
        self._thread = threading.Thread(target=self._proxy.serve)
        self._thread.start()

    def connected(self) -> tuple[socket.socket, socket.socket]:
        client = socket.create_connection(self.address, TIMEOUT_SECONDS)
        inside, _ = self.server.accept()
        inside.settimeout(TIMEOUT_SECONDS)
        return client, inside

    def close(self) -> None:
        self._stop.close()
        self._thread.join(TIMEOUT_SECONDS)
        assert not self._thread.is_alive()
        for sock in (self.server, self._inner, *self.listeners):
            sock.close()


@pytest.fixture
def published() -> Iterator[Published]:
    made = Published()
    yield made
    made.close()


def read_all(sock: socket.socket) -> bytes:
    data = bytearray()
    while chunk := sock.recv(1 << 16):
        data += chunk
    return bytes(data)


def send_all(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def test_both_directions_at_once_are_whole(published: Published) -> None:
    client, inside = published.connected()
    there, back = os.urandom(SIZE), os.urandom(SIZE)
    threads = [threading.Thread(target=send_all, args=pair) for pair in ((client, there), (inside, back))]
    received: dict[str, bytes] = {}
    reader = threading.Thread(target=lambda: received.update(client=read_all(client)))
    for thread in (*threads, reader):
        thread.start()
    received["inside"] = read_all(inside)
    for thread in (*threads, reader):
        thread.join()
    assert received["inside"] == there and received["client"] == back
    client.close()
    inside.close()


def test_an_end_of_one_direction_is_passed_on_and_the_other_lives(published: Published) -> None:
    client, inside = published.connected()
    send_all(client, b"question")
    assert read_all(inside) == b"question"
    send_all(inside, b"answer")
    assert read_all(client) == b"answer"
    client.close()
    inside.close()


def test_nobody_listens_inside(published: Published) -> None:
    published.server.close()
    client = socket.create_connection(published.address, TIMEOUT_SECONDS)
    with client, contextlib.suppress(ConnectionResetError):
        assert client.recv(1) == b""


def test_a_client_that_vanishes_does_not_harm_others(published: Published) -> None:
    first, inside_first = published.connected()
    second, inside_second = published.connected()
    first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close with a reset
    first.close()
    inside_first.close()
    send_all(second, b"still here")
    assert read_all(inside_second) == b"still here"
    second.close()
    inside_second.close()


def test_both_ends_that_vanish_at_once_do_not_end_the_proxy(published: Published) -> None:
    """Their events come in one round: the second is about a connection that is closed."""
    for _ in range(50):
        pairs = [published.connected() for _ in range(10)]
        for sock in (end for pair in pairs for end in pair):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        for sock in (end for pair in pairs for end in pair):
            sock.close()
    client, inside = published.connected()
    send_all(client, b"still here")
    assert read_all(inside) == b"still here"
    client.close()
    inside.close()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("80", ["0.0.0.0:0->80/tcp"]),
        ("8080:80", ["0.0.0.0:8080->80/tcp"]),
        ("127.0.0.1:8080:80/udp", ["127.0.0.1:8080->80/udp"]),
        ("127.0.0.1::80", ["127.0.0.1:0->80/tcp"]),
        ("[::1]:8080:80", ["[::1]:8080->80/tcp"]),
        ("8000-8002:80-82", [f"0.0.0.0:{8000 + n}->{80 + n}/tcp" for n in range(3)]),
    ],
)
def test_published_ports(text: str, wanted: list[str]) -> None:
    assert [str(port) for port in parse_ports([text])] == wanted


@pytest.mark.parametrize(
    "text", ["", "x", "80/sctp", "1:2:3:4:5", "0:80", "80:70000", "80-70:1-2", "1-2:1-3", "a.b:1:2"]
)
def test_ports_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match="-p "):
        parse_ports([text])


def test_free_ports_are_chosen_and_taken_ones_told() -> None:
    (port,) = claim(parse_ports(["127.0.0.1::80"]))
    assert port.host >= 1024
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        with pytest.raises(SandboxError, match=f"cannot publish 127.0.0.1:{taken}/tcp: address already in use"):
            claim(parse_ports([f"127.0.0.1:{taken}:80"]))


def test_kinds_of_networks() -> None:
    assert choose_kind(None, publishes=False) == ("host", "")
    assert choose_kind(None, publishes=True) == ("private", "")
    assert choose_kind("bridge", publishes=False) == ("private", "")
    assert choose_kind("pasta", publishes=False) == ("private", "pasta")
    with pytest.raises(UsageError, match='--network "container:x" is not supported'):
        choose_kind("container:x", publishes=False)
    assert connect("host", "", parse_ports(["80"])).warning.startswith("published ports are discarded")
    assert connect("none", "", ()).connector is None
    network = connect("none", "", parse_ports(["127.0.0.1::80"]))
    assert network.connector is not None and network.connector["name"] == "proxy" and network.warning == ""
    with pytest.raises(SandboxError, match="publishing 53/udp needs pasta or slirp4netns"):
        connect("none", "", parse_ports(["127.0.0.1::53/udp"]))
