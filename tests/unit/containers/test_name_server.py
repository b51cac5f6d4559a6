"""The name server of a network, on loopback addresses: 127.0.0.1 is the network's own, others are the machine's."""

from __future__ import annotations

import json
import selectors
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.containers.test_network_names import asked
from tiffin.builder.containers.network.bridge import names
from tiffin.builder.containers.network.bridge.names import Member, NameServer, names_path
from tiffin.builder.containers.network.bridge.questions import NO_SUCH_NAME, SERVER_FAILURE

SECONDS = 10
OWN, OUTER, SILENT, LIAR = "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"
A, PTR = 1, 12


class Bench:
    """A server, a client at the address of a member, and a server of the machine."""

    def __init__(self, folder: Path, *, forwards: bool = True) -> None:
        self.selector = selectors.DefaultSelector()
        self.server = NameServer(folder, "Back", forwards=forwards)
        self.client = _socket(OWN, 0)
        self.outer = _socket(OUTER, names.PORT)
        self.server.listen(OWN, self.selector)

    def ask(self, name: str, kind: int = A) -> None:
        """Ask, and let the server hear it."""
        self.client.sendto(asked(name, kind), (OWN, names.PORT))
        self.step()

    def step(self) -> None:
        """Let the server do what there is to do."""
        for key, _ in self.selector.select(SECONDS):
            key.data()

    def answer(self) -> tuple[int, list[str]]:
        """Return the code and the addresses of what the client was answered."""
        data = self.client.recv(1 << 16)
        number, flags, _, count = struct.unpack_from(">HHHH", data)
        assert number == 7 and flags & 0x8000
        return flags & 0xF, sorted(socket.inet_ntoa(data[len(data) - 16 * k - 4 :][:4]) for k in range(count))

    def close(self) -> None:
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        for one in (self.selector, self.client, self.outer):
            one.close()


def _socket(address: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, port))
    made.settimeout(SECONDS)
    return made


@pytest.fixture(autouse=True)
def port(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("", 0))
        monkeypatch.setattr(names, "PORT", probe.getsockname()[1])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_members_are_known_by_their_names_and_addresses(bench: Bench, tmp_path: Path) -> None:
    bench.server.add("1", Member(["10.0.0.2"], ["Web", "www"], [], []))
    bench.server.add("2", Member(["10.0.0.3"], ["db", "www"], [], []))
    for name, addresses in (("web", ["10.0.0.2"]), ("DB.back", ["10.0.0.3"]), ("www", ["10.0.0.2", "10.0.0.3"])):
        bench.ask(name)
        assert bench.answer() == (0, addresses)
    bench.ask("3.0.0.10.in-addr.arpa", PTR)
    assert bench.client.recv(1 << 16).endswith(b"\2db\4Back\0")
    table = json.loads(names_path(tmp_path, "Back").read_text())
    assert table == {"web": ["10.0.0.2"], "www": ["10.0.0.2", "10.0.0.3"], "db": ["10.0.0.3"]}


def test_what_changes_is_known_at_once(bench: Bench, tmp_path: Path) -> None:
    bench.server.add("1", Member(["10.0.0.2"], ["web"], [], []))
    bench.server.know("1", ["other"], [])
    bench.server.know("2", ["stranger"], [])
    assert json.loads(names_path(tmp_path, "Back").read_text()) == {"other": ["10.0.0.2"]}
    bench.server.remove("1")
    bench.server.remove("1")
    assert json.loads(names_path(tmp_path, "Back").read_text()) == {}


def test_names_of_another_network_are_for_those_that_are_in_it(bench: Bench, tmp_path: Path) -> None:
    names_path(tmp_path, "front").write_text('{"proxy": ["10.1.0.2"]}')
    bench.server.add("1", Member([OWN], ["me"], ["none", "front"], [OUTER]))
    bench.ask("proxy")
    assert bench.answer() == (0, ["10.1.0.2"])
    bench.server.know("1", ["me"], [])
    bench.ask("proxy")
    assert bench.outer.recv(1 << 16)[2:] == asked("proxy", A)[2:], "it is asked elsewhere"


def test_other_names_are_asked_of_the_machines_servers(bench: Bench) -> None:
    bench.server.add("1", Member([OWN], ["me"], [], [OUTER]))
    bench.ask("example.org")
    data, place = bench.outer.recvfrom(1 << 16)
    lie = data[:2] + struct.pack(">H", 0x8180) + data[4:]
    with _socket(LIAR, 0) as liar:
        liar.sendto(lie, place)  # from where nobody was asked
        bench.step()
    bench.outer.sendto(lie.replace(b"example", b"another"), place)  # to another question
    bench.step()
    bench.outer.sendto(b"x", place)
    bench.step()
    answer = struct.pack(">HHHIH4s", 0xC00C, A, 1, 60, 4, b"\x09\x09\x09\x09")
    bench.outer.sendto(data[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0) + data[12:] + answer, place)
    bench.step()
    assert bench.answer() == (0, ["9.9.9.9"])
    assert bench.server.give_up() is None


def test_the_next_server_is_asked_where_one_is_silent(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "PATIENCE_SECONDS", 0.0)
    bench.server.add("1", Member([OWN], ["me"], [], ["fe80::1", SILENT, OUTER]))
    bench.ask("example.org")
    bench.server.give_up()
    assert bench.outer.recv(1 << 16)[2:] == asked("example.org", A)[2:]
    bench.server.give_up()
    assert bench.answer() == (SERVER_FAILURE, [])


def test_a_network_that_leads_nowhere_knows_its_own_names_alone(tmp_path: Path) -> None:
    bench = Bench(tmp_path, forwards=False)
    bench.server.add("1", Member([OWN], ["me"], [], [OUTER]))
    bench.ask("example.org")
    assert bench.answer() == (NO_SUCH_NAME, [])
    bench.close()


def test_without_a_server_to_ask_that_is_said(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = tmp_path / "resolv.conf"
    monkeypatch.setattr(names, "RESOLV_CONF", str(conf))
    bench.ask("example.org")
    assert bench.answer() == (SERVER_FAILURE, [])
    conf.write_text(f"# a comment\nsearch x\nnameserver {OUTER}\n")
    bench.ask("example.org")
    assert bench.outer.recv(1 << 16)
