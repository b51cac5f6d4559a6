"""The proxy of published ports between sockets of this machine."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tiffin.builder.containers.network.networks import choose_kind, connect
from tiffin.builder.containers.network.ports import claim, parse_ports
from tiffin.builder.errors import SandboxError, UsageError
from tiffin.builder.sandbox.child.network.portproxy import Proxy, listen

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


SCARCE = """
import resource, socket, sys, threading
from tiffin.builder.sandbox.child.network import portproxy
from tiffin.builder.sandbox.child.network.portproxy import Proxy, listen
listeners = listen("127.0.0.1", 0)
_, inner = socket.socketpair()
proxy = Proxy([(sock, int(sys.argv[1])) for sock in listeners], inner)
if sys.argv[2] == "descriptors":
    with open("/dev/null") as lowest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno() + int(sys.argv[3]), 64))
else:
    portproxy.MAX_CONNECTIONS = int(sys.argv[3])
print(listeners[0].getsockname()[1], flush=True)
proxy.serve()
"""


def test_clients_beyond_what_there_are_descriptors_for_wait_and_cost_nothing() -> None:
    """Of 2 descriptors for each: none is left after the first two connections; there is half of a third; a limit of
    ours.
    """
    for kind, amount in (("descriptors", 4), ("descriptors", 5), ("connections", 2)):
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            server.settimeout(TIMEOUT_SECONDS)
            proxy = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", SCARCE, str(server.getsockname()[1]), kind, str(amount)],
                    stdout=subprocess.PIPE,
                )
            )
            stack.callback(proxy.kill)
            assert proxy.stdout is not None
            address = ("127.0.0.1", int(proxy.stdout.readline()))
            pairs = [(stack.enter_context(_client(address)), stack.enter_context(server.accept()[0])) for _ in range(2)]
            for _ in range(3):
                stack.enter_context(_client(address))
            time.sleep(0.3)
            before = _cpu_ticks(proxy.pid)
            time.sleep(0.5)
            assert _cpu_ticks(proxy.pid) - before < 10, (kind, amount, "the proxy spins")
            for client, inside in pairs:
                send_all(client, b"question")
                assert read_all(inside) == b"question"
                inside.close()
                assert read_all(client) == b""
            for _ in range(2):  # those that waited have their turn
                stack.enter_context(server.accept()[0])
            assert proxy.poll() is None


def _client(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, TIMEOUT_SECONDS)


def _cpu_ticks(pid: int) -> int:
    """The time of the processor that a process took, user's and system's."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


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
    assert network.connector is not None and network.connector.name == "proxy" and network.warning == ""
    with pytest.raises(SandboxError, match="publishing 53/udp needs pasta or slirp4netns"):
        connect("none", "", parse_ports(["127.0.0.1::53/udp"]))
