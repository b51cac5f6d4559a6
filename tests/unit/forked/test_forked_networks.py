"""Networks that containers share: each is a process of its own, and containers in it find each other by name."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest

from tests.support.forked import Begin, Forked, wait_for

SERVE = """
import socket, threading
def echo():
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("", 53053))
    while True:
        data, sender = datagrams.recvfrom(100)
        datagrams.sendto(data.upper(), sender)
threading.Thread(target=echo, daemon=True).start()
server = socket.create_server(("", 80))
print("up")
while True:
    connection, (address, _) = server.accept()
    with connection:
        connection.sendall(b"hello " + connection.recv(100))
"""
ASK = """
import socket, sys
for name in {names!r}:
    try:
        with socket.create_connection((name, 80), timeout=5) as connection:
            connection.sendall(b"there")
            print(name, connection.recv(100).decode())
    except OSError as exc:
        print(name, type(exc).__name__)
"""


@pytest.fixture
def network(forked: Forked, begin: Begin) -> Iterator[str]:
    """A network that a container `web` serves in; it is gone at the end."""
    words = ["--subnet", "10.99.7.0/24", "--gateway", "10.99.7.1", "--label", "a=b", "back"]
    forked("network", "create", *words)
    begin(
        "web",
        "--network",
        "back",
        "--network-alias",
        "www",
        "-p",
        "127.0.0.1::80",
        "-p",
        "127.0.0.1::53053/udp",
        script=SERVE,
    )
    yield "back"
    forked("rm", "-f", "web")
    assert forked("network", "rm", "back").stdout == "back\n"
    assert forked("network", "ls", "-q").stdout.count("\n") == 3  # bridge, host and none


def asked(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"outside")
        return connection.recv(100)


def published(forked: Forked, port: str) -> int:
    return int(forked("port", "web", port).stdout.rpartition(":")[2])


@pytest.mark.thorough
def test_containers_find_each_other_and_the_machine_finds_what_is_published(network: str, forked: Forked) -> None:
    names = ["web", "www", "web.back", "10.99.7.2", "nobody"]
    done = forked.python(ASK.format(names=names), "--rm", "--network", network)
    assert done.stdout.splitlines() == [f"{name} hello there" for name in names[:-1]] + ["nobody gaierror"]
    assert asked(published(forked, "80")) == b"hello outside"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(5)
        datagrams.sendto(b"words", ("127.0.0.1", published(forked, "53053/udp")))
        assert datagrams.recv(100) == b"WORDS"
    (found,) = json.loads(forked("network", "inspect", network).stdout)
    assert (found["Labels"], found["Internal"], found["IPAM"]["Config"][0]["Subnet"]) == (
        {"a": "b"},
        False,
        "10.99.7.0/24",
    )
    assert [item["Name"] for item in found["Containers"].values()] == ["web"]
    assert forked("network", "rm", network, check=False).returncode == 1


def test_a_container_joins_a_network_and_leaves_it(network: str, forked: Forked, begin: Begin) -> None:
    forked("network", "create", "front")
    begin("other", "--network", "front")
    forked("network", "connect", "--alias", "second", "front", "web")
    script = ASK.format(names=["second", "web"])
    assert forked.python(script, "--rm", "--network", "front").stdout.count("hello there") == 2
    shared = forked.python(ASK.format(names=["127.0.0.1", "www"]), "--rm", "--network", "container:web")
    assert shared.stdout == "127.0.0.1 hello there\nwww hello there\n"  # its names, too
    forked("network", "disconnect", "front", "web")
    assert forked.python(script, "--rm", "--network", "front").stdout == "second gaierror\nweb gaierror\n"
    listed = forked("network", "ls", "--filter", "driver=bridge", "--format", "{{.Name}}").stdout.split()
    assert sorted(listed) == ["back", "bridge", "front"]
    forked("rm", "-f", "other")
    assert "front" in forked("network", "prune", "-f").stdout


def test_a_network_that_was_killed_is_made_again(network: str, forked: Forked) -> None:
    assert asked(published(forked, "80")) == b"hello outside"
    forked("restart", "-t", "0", "web")
    wait_for(lambda: forked("logs", "web").stdout == "up\nup\n")
    until = time.monotonic() + 5
    while asked(published(forked, "80")) != b"hello outside":
        assert time.monotonic() < until
