"""The name server of a network: it knows who is attached, and asks the machine's name servers for the rest."""

from __future__ import annotations

import contextlib
import json
import random
import selectors
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tiffin.builder.containers.network.bridge.questions import NO_SUCH_NAME, SERVER_FAILURE, Question
from tiffin.builder.sandbox.child.network.name_files import RESOLV_CONF

PORT = 53
MAX_MESSAGE_BYTES = 65535
PATIENCE_SECONDS = 2.0  # with one server, before the next is asked
MAX_WAITING = 1000  # questions that are asked elsewhere
OUTER_SOCKETS = 8  # answers have to come to the port that was asked from: several are harder to guess
Address = tuple[str, int]


class Member:
    """Somebody in a network: addresses, names, further networks (of which names are answered, too), servers to ask."""

    def __init__(
        self, addresses: Sequence[str], names: Sequence[str], networks: Sequence[str], servers: Sequence[str]
    ) -> None:
        self.addresses = tuple(addresses)
        self.names = tuple(name.lower() for name in names)
        self.networks = tuple(networks)
        self.servers = tuple(servers)


class Waiting:
    """A question that is asked elsewhere."""

    def __init__(self, question: Question, data: bytes, client: Address, servers: Sequence[str]) -> None:
        self.question = question
        self.data = data
        self.client = client
        self.servers = list(servers)
        self.deadline = 0.0
        self.asked = ""


class NameServer:
    """Answers at the network's own address. Made outside, so that it asks from the machine's network."""

    def __init__(self, folder: Path, network: str, *, forwards: bool) -> None:
        self._folder = folder
        self._network = network
        self._outer = [_outer_socket() for _ in range(OUTER_SOCKETS)] if forwards else []
        self._waiting: dict[int, Waiting] = {}
        self._members: dict[str, Member] = {}  # by container
        self._others: dict[str, tuple[int, Mapping[str, Sequence[str]]]] = {}  # of other networks, with their time
        self._inner: socket.socket | None = None

    def listen(self, address: str, selector: selectors.BaseSelector) -> None:
        """Answer at an address of the network that this process is in now."""
        self._inner = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._inner.bind((address, PORT))
        self._inner.setblocking(False)
        selector.register(self._inner, selectors.EVENT_READ, self._hear)
        for sock in self._outer:
            selector.register(sock, selectors.EVENT_READ, lambda sock=sock: self._take(sock))

    # -- who is there -------------------------------------------------------------------------------------------------

    def add(self, identity: str, member: Member) -> None:
        """Know a member, and write down its names for the servers of other networks."""
        self._members[identity] = member
        self._publish()

    def know(self, identity: str, names: Sequence[str], networks: Sequence[str]) -> None:
        """Have a member have other names, and be in other networks, from now on."""
        known = self._members.get(identity)
        if known is not None:
            self.add(identity, Member(known.addresses, names, networks, known.servers))

    def remove(self, identity: str) -> None:
        """Forget a member."""
        if self._members.pop(identity, None) is not None:
            self._publish()

    def _publish(self) -> None:
        path = names_path(self._folder, self._network)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(self._table()))
        fresh.replace(path)

    def _table(self) -> dict[str, list[str]]:
        table: dict[str, list[str]] = {}
        for member in self._members.values():
            for name in member.names:
                table.setdefault(name, []).extend(member.addresses)
        return table

    def _addresses(self, name: str, client: Member | None) -> Sequence[str]:
        """Return the addresses of a name, in any order; those of another network where its asker is in that, too."""
        name = name.removesuffix(f".{self._network.lower()}")
        found = [text for member in self._members.values() if name in member.names for text in member.addresses]
        for network in client.networks if client is not None and not found else ():
            found = list(self._names_of(network).get(name, ()))
            if found:
                break
        random.shuffle(found)
        return found

    def _names_of(self, network: str) -> Mapping[str, Sequence[str]]:
        path = names_path(self._folder, network)
        try:
            written = path.stat().st_mtime_ns
            known = self._others.get(network)
            if known is None or known[0] != written:
                known = written, json.loads(path.read_bytes())
                self._others[network] = known
            return known[1]
        except (OSError, ValueError):
            return {}

    # -- questions ----------------------------------------------------------------------------------------------------

    def _hear(self) -> None:
        assert self._inner is not None
        with contextlib.suppress(OSError):
            while True:
                data, client = self._inner.recvfrom(MAX_MESSAGE_BYTES)
                question = Question.parse(data)
                if question is not None:
                    answer = self._answer(question, data, client)
                    if answer:
                        self._inner.sendto(answer, client)

    def _answer(self, question: Question, data: bytes, client: Address) -> bytes:
        """Return the answer, b"" for one that comes later."""
        asker = next((member for member in self._members.values() if client[0] in member.addresses), None)
        if address := question.reversed_address:
            for member in self._members.values():
                if address in member.addresses and member.names:
                    return question.answer_name(f"{member.names[0]}.{self._network}")
        elif addresses := self._addresses(question.name, asker):
            return question.answer(addresses)
        servers = asker.servers if asker is not None and asker.servers else _machine_servers()
        if not self._outer:
            return question.refuse(NO_SUCH_NAME)
        if not servers or len(self._waiting) >= MAX_WAITING:
            return question.refuse(SERVER_FAILURE)
        self._ask(Waiting(question, data, client, servers))
        return b""

    def _ask(self, waiting: Waiting) -> None:
        """Ask the next server; where none is left, say so."""
        while waiting.servers:
            waiting.asked = waiting.servers.pop(0)
            number = random.SystemRandom().randrange(1 << 16)
            if number in self._waiting or ":" in waiting.asked:
                continue
            with contextlib.suppress(OSError):
                random.choice(self._outer).sendto(struct.pack(">H", number) + waiting.data[2:], (waiting.asked, PORT))
                waiting.deadline = time.monotonic() + PATIENCE_SECONDS
                self._waiting[number] = waiting
                return
        self._reply(waiting, waiting.question.refuse(SERVER_FAILURE))

    def _take(self, sock: socket.socket) -> None:
        """Pass an answer on, if it is one to what was asked."""
        with contextlib.suppress(OSError):
            while True:
                data, (address, *_) = sock.recvfrom(MAX_MESSAGE_BYTES)
                if len(data) < 2:
                    continue
                number = struct.unpack_from(">H", data)[0]
                waiting = self._waiting.get(number)
                if waiting is None or address != waiting.asked:
                    continue
                section = waiting.question.section
                if data[12 : 12 + len(section)].lower() != section.lower():
                    continue
                del self._waiting[number]
                self._reply(waiting, struct.pack(">H", waiting.question.number) + data[2:])

    def _reply(self, waiting: Waiting, data: bytes) -> None:
        assert self._inner is not None
        with contextlib.suppress(OSError):
            self._inner.sendto(data, waiting.client)

    def give_up(self) -> float | None:
        """Ask other servers where one does not answer; return the seconds until the next one is late."""
        now = time.monotonic()
        for number, waiting in list(self._waiting.items()):
            if waiting.deadline <= now:
                del self._waiting[number]
                self._ask(waiting)
        if not self._waiting:
            return None
        return max(0.0, min(waiting.deadline for waiting in self._waiting.values()) - now)


def names_path(folder: Path, network: str) -> Path:
    """Return the file with the names of a network that has members."""
    return folder / f"{network}.names"


def _outer_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", 0))
    sock.setblocking(False)
    return sock


def _machine_servers() -> list[str]:
    """Return the machine's name servers, as they are now."""
    try:
        with open(RESOLV_CONF, encoding="utf-8", errors="replace") as file:
            lines = [line.split() for line in file]
    except OSError:
        return []
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
