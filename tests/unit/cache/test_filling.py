"""Using and filling a shared cache: it costs time at most, a row is there only with its blob, and a key decides who
is believed.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.fakes.shared_store import MemoryStore
from tiffin.cache.backend import StepRecord
from tiffin.cache.errors import CorruptError, StoreError, UsageError
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.shared import upload
from tiffin.cache.shared.bundle import MAX_ROWS, Bundle
from tiffin.cache.shared.deadline import CacheNotFoundError, CircuitBreaker, Rows, bounded, in_thread
from tiffin.cache.shared.protocol import UnavailableError
from tiffin.cache.shared.signing import Hmac, RecordSigner, Unsigned, signer_of
from tiffin.cache.shared.tier import SharedCache
from tiffin.cache.shared.upload import Uploader
from tiffin.cache.store.snapshots import BlobRef

KEYS = [Digest.of(name.encode()) for name in ("one", "two", "three")]


def record(number: int = 0, *, packed: bool = True, created: str = "2026-01-01T00:00:00Z") -> StepRecord:
    data = blob(number)
    layer = BlobRef(media_type="t", digest=Digest.of(data), size_bytes=len(data)) if packed else None
    return StepRecord(
        diff_id=Digest.of(b"d%d" % number), parent_chain=Digest.of(b"p"), created=created, seconds=0.0, parts=(),
        layer=layer, empty=False, description=f"step {number}",
    )  # fmt: skip


def blob(number: int) -> bytes:
    return b"layer %d" % number


def opened(ref: BlobRef) -> io.BytesIO:
    return io.BytesIO(next(blob(number) for number in range(9) if Digest.of(blob(number)) == ref.digest))


def filled(store: MemoryStore, records: Mapping[Digest, StepRecord], signer: RecordSigner | None = None) -> None:
    for key, item in records.items():
        store.rows[key.hex] = (signer or Unsigned()).sign(key.hex, item.encode())


class Shared:
    """A SharedCache over a store in memory, with what it said."""

    def __init__(self, store: MemoryStore, *, signer: RecordSigner | None = None, takes: bool = True,
        required: bool = False) -> None:  # fmt: skip
        self.warned: list[str] = []
        self.found: list[Digest] = []
        breaker = CircuitBreaker("the memory cache", 5, self.warned.append, required=required)

        def found(ref: BlobRef, diff_id: Digest) -> bool:
            self.found.append(diff_id)
            return takes

        self.cache = SharedCache(store, breaker, signer or Unsigned(), found)


@pytest.fixture
def second_thread() -> Iterator[None]:
    """Questions are asked by threads then, and not by children, whose memory is their own."""
    ended = threading.Event()
    other = threading.Thread(target=ended.wait)
    other.start()
    yield
    ended.set()
    other.join()


# -- looking up
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("second_thread")
def test_a_question_is_asked_once_and_what_is_absent_is_remembered() -> None:
    store = MemoryStore()
    filled(store, {KEYS[0]: record()})
    shared = Shared(store)
    assert list(shared.cache.get_many(KEYS)) == [KEYS[0]] == list(shared.cache.get_many(KEYS))
    assert store.log == ["read"] and shared.found[0] == record().diff_id
    assert [item.description for item in shared.cache.records()] == ["step 0"]


def test_records_without_a_packed_layer_or_that_nobody_takes_are_left_out() -> None:
    store = MemoryStore()
    filled(store, {KEYS[0]: record(packed=False), KEYS[1]: record(1)})
    assert list(Shared(store).cache.get_many(KEYS)) == [KEYS[1]]
    refusing = Shared(store, takes=False).cache
    assert not refusing.get_many(KEYS) and refusing.refused == {KEYS[1]}


def test_a_malformed_row_is_refused_told_once_and_costs_nothing_else() -> None:
    store = MemoryStore()
    filled(store, {KEYS[0]: record()})
    store.rows[KEYS[1].hex] = b"{nonsense"
    shared = Shared(store)
    assert list(shared.cache.get_many(KEYS)) == [KEYS[0]] == list(shared.cache.get_many(KEYS))
    assert shared.cache.refused == {KEYS[1]} and len(shared.warned) == 1 and "refused a record" in shared.warned[0]


@pytest.mark.usefixtures("second_thread")
def test_a_store_that_failed_is_not_asked_again() -> None:
    store = MemoryStore()
    store.is_down = True
    shared = Shared(store)
    assert not shared.cache.get_many(KEYS[:1]) and not shared.cache.get_many(KEYS)
    assert store.log == ["read"] and shared.warned == ["the memory cache cannot be used: it is down"]
    with pytest.raises(StoreError, match="cannot be used: it is down"):
        Shared(store, required=True).cache.get_many(KEYS)


def test_everything_of_a_store_that_can_tell() -> None:
    store = MemoryStore()
    filled(store, {KEYS[0]: record(), KEYS[1]: record(1)})
    assert set(Shared(store).cache.everything()) == set(KEYS[:2])


# -- bounds
# ----------------------------------------------------------------------------------------------------------------


def slow() -> Rows:
    time.sleep(5)
    return {}


def failing() -> Rows:
    raise UnavailableError("it is down", remedy="start it")


def absent() -> Rows:
    raise CacheNotFoundError("it is not there yet", remedy="fill it")


@pytest.mark.parametrize("how", ["child", "thread"])
def test_questions_end_in_time_whatever_happens(how: str) -> None:
    """By a forked child while the process has one thread, else by a thread that is left behind."""
    ended = threading.Event()
    other = threading.Thread(target=ended.wait)
    if how == "thread":
        other.start()
    try:
        assert bounded(lambda: {"a": b"\xff1"}, 5) == {"a": b"\xff1"}
        began = time.monotonic()
        with pytest.raises(StoreError, match=r"no answer within 0\.1 s"):
            bounded(slow, 0.1)
        assert time.monotonic() - began < 2
        with pytest.raises(StoreError, match="it is down"):
            bounded(failing, 5)
        with pytest.raises(CacheNotFoundError):
            bounded(absent, 5)
    finally:
        ended.set()
        if how == "thread":
            other.join()


def test_a_question_that_breaks_in_a_child_is_told_as_one_that_could_not_be_asked() -> None:
    def broken() -> Rows:
        raise ZeroDivisionError

    if threading.active_count() == 1:
        with pytest.raises(StoreError, match="could not be asked"):
            bounded(broken, 5)
    with pytest.raises(ZeroDivisionError):
        in_thread(broken, 5)


@pytest.mark.parametrize(("begins", "reported"), [(True, []), (False, ["x: it is not there yet"])])
def test_a_cache_that_nobody_filled_yet_is_told_unless_it_begins_here(begins: bool, reported: list[str]) -> None:
    warned: list[str] = []
    breaker = CircuitBreaker("x", 5, warned.append, begins=begins)
    assert breaker.rows(absent) == {} == breaker.rows(failing) and warned == reported and not breaker.failed


def test_a_warning_is_given_once() -> None:
    warned: list[str] = []
    breaker = CircuitBreaker("x", 5, warned.append)
    for text in ("a", "b", "a"):
        breaker.warn_once(text)
    assert warned == ["x: a", "x: b"]


# -- filling
# ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "PAUSE_SECONDS", 0.001)


def uploader(
    store: MemoryStore, *, begins: bool = True, doubted: frozenset[Digest] = frozenset(),
    refused: frozenset[Digest] = frozenset()
) -> Uploader:  # fmt: skip
    return Uploader(store, Unsigned(), opened, lambda: begins, doubted, refused, 5)


def test_layers_go_up_first_and_rows_last() -> None:
    store = MemoryStore()
    done = uploader(store).finish({KEYS[0]: record(), KEYS[1]: record(1)}, KEYS)
    assert (done.rows, done.layers, done.failure) == (2, 2, "") and done.size_bytes == 2 * len(blob(0))
    assert store.log[-1] == "write" and set(store.rows) == {key.hex for key in KEYS[:2]}
    assert store.blobs[Digest.of(blob(1))] == blob(1)


def test_what_is_there_is_not_sent_again() -> None:
    store = MemoryStore()
    records = {KEYS[0]: record(), KEYS[1]: record(1)}
    uploader(store).finish(records, KEYS)
    store.log.clear()
    again = uploader(store).finish(records, KEYS)
    assert (again.rows, again.layers) == (0, 0) and store.log == ["known"]
    other = uploader(store).finish(records | {KEYS[2]: record(1)}, KEYS)
    assert (other.rows, other.layers) == (1, 0), "the blob is there, under another key"


def test_what_came_damaged_is_written_anew() -> None:
    store = MemoryStore()
    records = {KEYS[0]: record(), KEYS[1]: record(1)}
    uploader(store).finish(records, KEYS)
    store.blobs[Digest.of(blob(0))] = b"damaged"
    done = uploader(store, doubted=frozenset({Digest.of(blob(0))})).finish(records, KEYS)
    assert (done.rows, done.layers) == (1, 1) and store.blobs[Digest.of(blob(0))] == blob(0)
    assert uploader(store, refused=frozenset({KEYS[1]})).finish(records, KEYS).rows == 1
    assert uploader(store).finish(records, KEYS, {KEYS[1]: record(1)}).rows == 1


def test_a_blob_goes_up_while_the_build_goes_on_if_threads_are_allowed() -> None:
    store = MemoryStore()
    early = uploader(store)
    layer = record().layer
    assert layer is not None
    early.offer(layer)
    deadline = time.monotonic() + 5
    while layer.digest not in store.blobs and time.monotonic() < deadline:
        time.sleep(0.001)
    assert layer.digest in store.blobs and not store.rows
    late = MemoryStore()
    uploader(late, begins=False).offer(layer)
    assert not late.log


def test_a_store_without_room_gets_no_row_for_a_layer_it_has_not() -> None:
    store = MemoryStore(room=3)
    done = uploader(store).finish({KEYS[0]: record()}, KEYS)
    assert (done.rows, done.too_large, done.failure) == (0, 1, "") and not store.rows


def test_a_failure_is_tried_once_more_and_then_told() -> None:
    store = MemoryStore()

    class Once(MemoryStore):
        def write_blob(self, ref: BlobRef, open_blob: object) -> bool:
            if not self.log.count("tried"):
                self.log.append("tried")
                raise UnavailableError("it hiccuped", remedy="")
            return super().write_blob(ref, open_blob)  # type: ignore[arg-type]

    assert uploader(Once()).finish({KEYS[0]: record()}, KEYS).failure == ""
    store.is_down = True
    assert uploader(store).finish({KEYS[0]: record()}, KEYS).failure == "it is down"

    class NoBlobs(MemoryStore):
        def write_blob(self, ref: BlobRef, open_blob: object) -> bool:
            raise UnavailableError("no blobs today", remedy="")

    closed = NoBlobs()
    done = uploader(closed).finish({KEYS[0]: record(), KEYS[1]: record(1)}, KEYS)
    assert (done.rows, done.failure) == (0, "no blobs today") and not closed.rows


def test_the_answer_to_a_whole_question_is_kept_where_the_store_can() -> None:
    class Together(MemoryStore):
        keeps_answers = True

        def write_answer(self, names: Sequence[str], rows: Mapping[str, bytes]) -> None:
            self.asked = names, dict(rows)

    store = Together()
    records = {KEYS[0]: record(), KEYS[1]: record(1)}
    uploader(store).finish({KEYS[0]: record()}, KEYS)
    uploader(store).finish(records, KEYS)
    names, rows = store.asked
    assert names == [key.hex for key in KEYS] and set(rows) == {key.hex for key in KEYS[:2]}


# -- signatures
# ------------------------------------------------------------------------------------------------------------


def pem(folder: Path) -> tuple[Path, Path]:
    """A private key and its public one."""
    key = ed25519.Ed25519PrivateKey.generate()
    private, public = folder / "private.pem", folder / "public.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def test_who_has_the_key_is_believed_and_nobody_else(tmp_path: Path) -> None:
    private, public = pem(tmp_path)
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    row = signer_of(private).sign("name", record().encode())
    assert StepRecord.decode(signer_of(public).verify("name", row)) == record()
    for signer, name, data in (
        (signer_of(pem(stranger)[1]), "name", row),
        (signer_of(public), "another name", row),
        (signer_of(public), "name", row.replace(b"step 0", b"step 1")),
        (signer_of(public), "name", record().encode()),
        (signer_of(public), "name", Hmac(b"x" * 16).sign("name", record().encode())),
        (signer_of(public), "name", b"[]"),
    ):
        with pytest.raises(CorruptError):
            signer.verify(name, data)
    with pytest.raises(UsageError, match="a public key cannot sign"):
        signer_of(public).sign("name", record().encode())


def test_a_secret_signs_and_verifies(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 20 + b"\n")
    signer = signer_of(secret)
    assert signer.verify("n", signer.sign("n", record().encode())) == record().encode()
    with pytest.raises(CorruptError, match="no signature of the key given"):
        Hmac(b"t" * 20).verify("n", signer.sign("n", record().encode()))


def test_keys_that_are_none_are_told(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("abc")
    (tmp_path / "bad").write_text("-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n")
    other = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "other").write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for name, reason in (("short", "shorter than"), ("bad", "cannot read the key"), ("other", "not an ed25519"),
        ("none", "No such file")):  # fmt: skip
        with pytest.raises(UsageError, match=reason):
            signer_of(tmp_path / name)
    assert isinstance(signer_of(None), Unsigned)


def test_unsigned_rows_are_refused_where_a_key_is_given() -> None:
    store = MemoryStore()
    filled(store, {KEYS[0]: record()})
    filled(store, {KEYS[1]: record(1)}, Hmac(b"k" * 16))
    assert list(Shared(store, signer=Hmac(b"k" * 16)).cache.get_many(KEYS)) == [KEYS[1]]


# -- documents of rows
# -----------------------------------------------------------------------------------------------------


def test_a_document_holds_rows_and_names_each_layer_once() -> None:
    rows = {"a": record().encode(), "b": record().encode(), "c": record(1).encode(), "d": b"{}"}
    read = Bundle.decode(Bundle(rows).encode())
    assert set(read.rows) == set(rows) and [ref.digest for ref in read.layers()] == [Digest.of(blob(0)),
        Digest.of(blob(1))]  # fmt: skip
    assert set(read.only({Digest.of(blob(1))}).rows) == {"c"}


@pytest.mark.parametrize("data", [b"", b"[]", b'{"schema": 0, "records": {}}', b'{"schema": 3}', b"[" * 100_000])
def test_a_document_that_is_none(data: bytes) -> None:
    with pytest.raises(CorruptError, match="malformed"):
        Bundle.decode(data)


def test_the_oldest_rows_go_first_and_new_ones_never() -> None:
    old = {f"{number:05}": record(created=f"2026-01-01T00:00:00.{number:05}Z").encode() for number in range(MAX_ROWS)}
    merged = Bundle(old).merged(Bundle({"new": record(1).encode()}))
    assert len(merged.rows) == MAX_ROWS and "new" in merged.rows and "00000" not in merged.rows
    aged = Bundle({"old": record(created="2001-01-01T00:00:00Z").encode()}).merged(Bundle({"n": record().encode()}), 60)
    assert set(aged.rows) == {"n"}


def test_a_blob_that_another_machine_brought_up_is_not_asked_for_unless_it_is_doubted() -> None:
    for doubted in (frozenset[Digest](), frozenset({Digest.of(blob(0))})):
        store, layer = MemoryStore(), record().layer
        assert layer is not None
        store.blobs[layer.digest] = blob(0)
        one = uploader(store, doubted=doubted)
        one.note(layer)
        assert one.has([layer]) is not bool(doubted)
        assert one.finish({KEYS[0]: record()}, KEYS).rows == 1
        assert ("write_blob" in store.log) is bool(doubted) and "has_blob" not in store.log
