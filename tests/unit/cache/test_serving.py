"""A served cache and its clients: rows and layers for who may have them, a blob fetched once for all, peers that are
asked in turn.
"""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.web_store import web_store
from tiffin.cache.backend import StepRecord
from tiffin.cache.connections import Connections
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.shared.protocol import UnavailableError
from tiffin.cache.shared.serve import ServedCache, serve
from tiffin.cache.shared.signing import Unsigned
from tiffin.cache.shared.stall import MinimumRateReader
from tiffin.cache.shared.stores.http import HttpStore
from tiffin.cache.shared.stores.peers import MIN_BYTES, Peers, ranked
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.local import LocalCache, Table
from tiffin.cache.store.snapshots import BlobRef
from tiffin.cache.store.statedir import StateDir

DATA = b"layer" * (MIN_BYTES // 4)
KEY = Digest.of(b"key")


def ref(data: bytes = DATA) -> BlobRef:
    return BlobRef(media_type="t", digest=Digest.of(data), size_bytes=len(data))


def record(layer: BlobRef | None) -> StepRecord:
    return StepRecord(
        diff_id=Digest.of(b"d"), parent_chain=Digest.of(b"p"), created="2026-01-01T00:00:00Z", seconds=0.0, parts=(),
        layer=layer, empty=False, description="a step",
    )  # fmt: skip


@dataclass
class Served:
    """A state directory that is served; `registry` is what it can fetch."""

    address: str
    blobs: BlobStore
    cache: LocalCache
    registry: dict[Digest, bytes] = field(default_factory=dict)
    fetched: list[tuple[str, str]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)


def keep(blobs: BlobStore, data: bytes) -> None:
    with blobs.ingest() as writer:
        writer.write(data)
        writer.commit()


@contextlib.contextmanager
def serving(place: Path, monkeypatch: pytest.MonkeyPatch, token: str = "") -> Iterator[Served]:
    """The real server, in a thread; it ends by the handler that it set for SIGTERM."""
    state = StateDir.open(place)
    handlers: dict[int, Callable[[int, Any], Any]] = {}
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    with contextlib.closing(Table(state, print)) as table:
        served = Served(address="", blobs=BlobStore(state), cache=LocalCache(table))
        served.gate.set()
        ready = threading.Event()

        def fetch(ref: BlobRef, registry: str, repository: str, begun: Callable[[Path], None]) -> bool:
            served.fetched.append((registry, repository))
            data = served.registry.get(ref.digest)
            if data is None:
                return False
            with served.blobs.ingest() as writer:
                writer.write(data[: len(data) // 2])
                begun(writer.path)
                served.gate.wait(5)
                writer.write(data[len(data) // 2 :])
                writer.commit(ref.digest, len(data))
            return True

        def started(address: str) -> None:
            served.address = address
            ready.set()

        served_cache = ServedCache(blobs=served.blobs, cache=served.cache, signer=Unsigned(), fetch=fetch)
        thread = threading.Thread(target=serve, args=(served_cache, "127.0.0.1", 0, token, started))
        thread.start()
        assert ready.wait(5)
        try:
            yield served
        finally:
            handlers[signal.SIGTERM](signal.SIGTERM, None)
            thread.join()


def ask(address: str, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=5)
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_rows_are_served_whose_layer_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path, monkeypatch) as served:
        store = HttpStore(served.address, timeout_seconds=5)
        served.cache.put(KEY, record(ref()))
        assert not store.read([KEY.hex])
        keep(served.blobs, DATA)
        assert StepRecord.decode(store.read([KEY.hex])[KEY.hex]) == record(ref())
        served.cache.put(KEY, record(None))
        assert not store.read([KEY.hex]) and store.known([KEY.hex]) == frozenset()


def test_layers_are_served_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path, monkeypatch) as served:
        keep(served.blobs, DATA)
        store = HttpStore(served.address, timeout_seconds=5)
        assert store.has_blob(ref()) and not store.has_blob(ref(b"other"))
        stream = store.read_blob(ref())
        assert stream is not None
        with stream:
            assert b"".join(iter(lambda: stream.read(1 << 16), b"")) == DATA
        assert ask(served.address, f"/v2/a/b/blobs/{ref().digest}") == (200, DATA)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 404), ("/v2/", 200), ("/cas/xyz", 404), ("/ac/../../etc/passwd", 404), (f"/cas/{'0' * 64}", 404),
        ("/v2/a/blobs/sha256:12", 400), ("/v2/A/blobs/x", 404), ("http://[x", 400),
    ],
)  # fmt: skip
def test_any_question_has_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, status: int) -> None:
    with serving(tmp_path, monkeypatch) as served:
        host, port = served.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 5) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
            assert int(client.recv(1 << 16).split()[1]) == status


def test_strangers_get_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path, monkeypatch, token="t0ken") as served:
        keep(served.blobs, DATA)
        for header in ({}, {"Authorization": "Bearer other"}):
            assert ask(served.address, f"/cas/{ref().digest.hex}", **header) == (401, b"")
        assert ask(served.address, f"/cas/{ref().digest.hex}", Authorization="Bearer t0ken") == (200, DATA)


def test_a_blob_of_a_registry_is_fetched_once_for_all_who_want_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, monkeypatch) as served:
        served.registry[ref().digest] = DATA
        served.gate.clear()
        path = f"/v2/team/app/blobs/{ref().digest}?ns=reg.example&size={len(DATA)}"
        answers: list[tuple[int, bytes]] = []
        threads = [threading.Thread(target=lambda: answers.append(ask(served.address, path))) for _ in range(4)]
        for thread in threads:
            thread.start()
        served.gate.set()
        for thread in threads:
            thread.join()
        assert answers == [(200, DATA)] * 4 and served.fetched == [("reg.example", "team/app")]
        assert ask(served.address, path) == (200, DATA) and len(served.fetched) == 1


def test_a_blob_that_nobody_has_is_not_found_and_none_is_fetched_without_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, monkeypatch) as served:
        digest = ref().digest
        assert ask(served.address, f"/v2/a/blobs/{digest}?ns=reg.example&size=9")[0] == 404
        for query in ("ns=reg.example", "size=9", "ns=reg.example&size=-1", "ns=reg.example&size=9&x"):
            ask(served.address, f"/v2/a/blobs/{digest}?{query}", "HEAD")
            assert ask(served.address, f"/v2/a/blobs/{digest}?{query}")[0] == 404
        assert len(served.fetched) == 2, "the first and the last question have all they need"


# -- peers
# -----------------------------------------------------------------------------------------------------------------


def test_the_order_of_peers_is_the_same_for_all_and_spreads() -> None:
    addresses = [f"http://h{number}:1" for number in range(4)]
    orders = [ranked(addresses, Digest.of(b"%d" % number)) for number in range(40)]
    assert all(order == ranked(addresses[::-1], Digest.of(b"%d" % number)) for number, order in enumerate(orders))
    assert {order[0] for order in orders} == set(addresses)
    without = [ranked(addresses[1:], Digest.of(b"%d" % number)) for number in range(40)]
    assert all([peer for peer in order if peer != addresses[0]] == less for order,
        less in zip(orders, without, strict=True))  # fmt: skip


def test_a_blob_comes_from_a_peer_and_small_ones_are_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = BlobStore(StateDir.open(tmp_path / "mine"))
    with serving(tmp_path / "theirs", monkeypatch) as served:
        served.registry[ref().digest] = DATA
        peers = Peers([served.address], "", pytest.fail)
        assert not peers.bring(ref(b"small"), "reg.example", "app", mine)
        assert peers.bring(ref(), "reg.example", "app", mine)
        assert mine.path(ref().digest).read_bytes() == DATA and served.fetched == [("reg.example", "app")]


@pytest.mark.parametrize("sent", [DATA[:-1] + b"x", DATA[:-1], DATA + b"more", None])
def test_a_peer_that_sends_something_else_is_left_out_and_told_once(tmp_path: Path, sent: bytes | None) -> None:
    mine, said = BlobStore(StateDir.open(tmp_path)), list[str]()
    with web_store() as web:
        if sent is None:
            web.statuses = [500] * 4
        else:
            web.files[f"/v2/app/blobs/{ref().digest}"] = sent
        peers = Peers([web.address], "", said.append)
        assert not peers.bring(ref(), "reg.example", "app", mine)
        before = len(web.log)
        assert not peers.bring(ref(), "reg.example", "app", mine) and len(web.log) == before
    assert len(said) == 1 and "is left out" in said[0] and not mine.has(ref().digest)


def test_names_of_peers_are_resolved_once() -> None:
    said: list[str] = []
    assert not Peers(["dns:no.such.name.invalid"], "", said.append).bring(ref(), "r", "a", None)  # type: ignore[arg-type]
    assert said == ["no peer is called no.such.name.invalid"]


# -- streams
# ---------------------------------------------------------------------------------------------------------------


class Dripping:
    """A byte at a time, and then an end or an error."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = list(parts)

    def read1(self, size: int | None) -> bytes:
        if not self._parts:
            raise ConnectionError("broke")
        time.sleep(0.01)
        return self._parts.pop(0)


def test_a_stream_that_brings_too_little_for_too_long_is_given_up() -> None:
    closed: list[bool] = []
    with MinimumRateReader(Dripping(b"a", b"b"), lambda: closed.append(True),
        -1) as stream, pytest.raises(UnavailableError, match="only 1 bytes"):  # fmt: skip
        stream.read()
    assert closed == [True]
    quick = MinimumRateReader(Dripping(b"a", b""), lambda: None, 10)
    assert quick.read(5) == b"a" and quick.read() == b""
    with pytest.raises(UnavailableError, match="could not be read to its end"):
        quick.read()


def test_each_thread_has_its_session_over_the_same_connections() -> None:
    connections = Connections(trust_env=False)
    sessions = [connections.session(), connections.session()]
    thread = threading.Thread(target=lambda: sessions.append(connections.session()))
    thread.start()
    thread.join()
    assert sessions[0] is sessions[1] is not sessions[2]
    assert sessions[0].get_adapter("http://x") is sessions[2].get_adapter("https://y")
    assert not sessions[0].trust_env
