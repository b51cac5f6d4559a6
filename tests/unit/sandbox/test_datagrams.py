"""Published ports of datagrams."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator

import pytest

from tiffin.builder.sandbox.child.network import datagrams
from tiffin.builder.sandbox.child.network.datagrams import Datagrams


def udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(5)
    return sock


def echo(server: socket.socket) -> None:
    while (found := server.recvfrom(100))[0] != b"end":
        server.sendto(found[0].upper(), found[1])


@pytest.fixture
def echoing() -> Iterator[socket.socket]:
    server = udp()
    server.settimeout(None)
    thread = threading.Thread(target=echo, args=(server,))
    thread.start()
    yield server
    with udp() as last:
        last.sendto(b"end", server.getsockname())
    thread.join()
    server.close()


def test_each_client_has_its_own_answers(echoing: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagrams, "MAX_CLIENTS", 2)
    outer = udp()
    outer.setblocking(False)
    selector = selectors.DefaultSelector()
    port = Datagrams(selector, outer, echoing.getsockname())
    clients = [udp() for _ in range(3)]  # one more than are remembered
    for _ in range(2):
        for number, client in enumerate(clients):
            client.sendto(b"client %d" % number, outer.getsockname())
            for _ in range(2):  # there, and back
                for key, _ in selector.select(5):
                    assert key.data is port
                    port.move(key.fileobj)
            assert client.recv(100) == b"CLIENT %d" % number
    assert len(selector.get_map()) <= 1 + 2
    for key in list(selector.get_map().values()):
        assert isinstance(key.fileobj, socket.socket)
        key.fileobj.close()
    for client in clients:
        client.close()
