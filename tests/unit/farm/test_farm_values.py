"""What drivers and workers tell each other, and its bytes."""

from __future__ import annotations

import io
import os
import pickle

import pytest

from tiffin.builder.errors import (
    BuildError,
    CorruptError,
    DiskFullError,
    MissingBlobError,
    RegistryError,
    RunError,
    SandboxError,
    Span,
    UsageError,
)
from tiffin.builder.farm.address import FarmTrust, access_of, checked_address, is_loopback, trust_of
from tiffin.builder.farm.pipes import read_frame, write_frame
from tiffin.builder.farm.sealing import WorkerKey, seal
from tiffin.builder.farm.values import LOST, MACHINE, OWN, Alive, Ended, Failure, error_of, failure_of
from tiffin.builder.instructions.ops import BindMount, ContextOrigin, RunOp
from tiffin.builder.value_bytes import decode, encode
from tiffin.cache.foundation.digest import Digest

SPAN = Span(file="Dockerfile", first_line=3, last_line=3)


def test_values_come_as_they_were_sent() -> None:
    mount = BindMount(target="/a", source="/", origin=ContextOrigin())
    op = RunOp(argv=("a",), env=(), cwd="/", user="", network="default", mounts=(mount,))
    value = {"op": op, "digests": frozenset({Digest.of(b"x")}), "ended": Ended(unit="u", failure=None)}
    assert decode(encode(value)) == value


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("true",)


@pytest.mark.parametrize("data", [pickle.dumps(Evil()), pickle.dumps(UsageError), b"", b"\x80\x05junk", encode(1)[:-1]])
def test_nothing_but_values_is_read(data: bytes) -> None:
    with pytest.raises(CorruptError):
        decode(data)


@pytest.mark.parametrize(
    "error, kind",
    [
        (RunError("it failed", status=7, tail="last words", span=SPAN), OWN),
        (BuildError("no such file", span=SPAN, remedy="name another"), OWN),
        (DiskFullError("no space left"), MACHINE),
        (SandboxError("no namespace"), MACHINE),
        (RegistryError("no answer"), MACHINE),
        (MissingBlobError("gone", digest=str(Digest.of(b"layer"))), LOST),
        (ValueError("unforeseen"), MACHINE),
    ],
)
def test_a_failure_tells_whose_fault_it_is(error: Exception, kind: str) -> None:
    failure = decode(encode(failure_of(error)))
    assert failure.kind == kind
    told = error_of(failure)
    assert str(error) in str(told) or told.message in str(error)
    if isinstance(error, RunError):
        assert isinstance(told, RunError) and (told.status, told.tail, told.span) == (7, "last words", SPAN)
    if isinstance(error, MissingBlobError):
        assert isinstance(told, MissingBlobError) and told.digest == error.digest


def test_a_failure_of_a_machine_is_told_as_one_of_the_step() -> None:
    assert isinstance(error_of(Failure(kind=MACHINE, message="worker a was lost")), BuildError)


def test_frames() -> None:
    stream = io.BytesIO()
    for data in (b"", b"one", bytes(100_000)):
        write_frame(stream, data)
    stream.seek(0)
    assert [read_frame(stream) for _ in range(4)] == [b"", b"one", bytes(100_000), None]
    assert read_frame(io.BytesIO(stream.getvalue()[:15])) == b""
    assert read_frame(io.BytesIO(b"\xff" * 8)) is None


def test_only_the_worker_reads_what_is_sealed_for_it() -> None:
    key = WorkerKey()
    sealed = seal(key.public, b"hush")
    assert b"hush" not in sealed and key.open(sealed) == b"hush"
    for other, data in ((WorkerKey(), sealed), (key, sealed[:-1] + bytes([sealed[-1] ^ 1]))):
        with pytest.raises(CorruptError):
            other.open(data)


TRUST = FarmTrust(ca="ca", cert="cert", key="key")


@pytest.mark.parametrize(
    "text, trust, address",
    [
        ("127.0.0.1", FarmTrust(), "tcp://127.0.0.1:8786"),
        ("localhost:1", FarmTrust(), "tcp://localhost:1"),
        ("tcp://[::1]:5", FarmTrust(), "tcp://[::1]:5"),
        ("farm.example", TRUST, "tls://farm.example:8786"),
        ("tls://10.0.0.1:9", TRUST, "tls://10.0.0.1:9"),
    ],
)
def test_addresses(text: str, trust: FarmTrust, address: str) -> None:
    assert checked_address(text, trust, "--farm") == address
    assert access_of(text, trust).address == address


@pytest.mark.parametrize(
    "text, trust",
    [
        ("10.0.0.1", FarmTrust()),
        ("tcp://farm.example:8786", FarmTrust()),
        ("tcp://farm.example:8786", TRUST),
        ("tls://127.0.0.1", FarmTrust()),
        ("http://127.0.0.1", FarmTrust()),
        ("127.0.0.1:99999", FarmTrust()),
        ("a b", FarmTrust()),
        ("", FarmTrust()),
        ("tcp://localhost.evil.example", FarmTrust()),
    ],
)
def test_addresses_that_are_refused(text: str, trust: FarmTrust) -> None:
    with pytest.raises(UsageError):
        checked_address(text, trust, "--farm")


def test_loopback() -> None:
    assert is_loopback("127.8.9.1") and is_loopback("[::1]") and not is_loopback("192.0.2.1")


def test_tls_takes_three_files(tmp_path: object) -> None:
    assert not trust_of("", "", "")
    with pytest.raises(UsageError, match="--farm-tls-key"):
        trust_of("/etc/passwd", "/etc/passwd", "")
    with pytest.raises(UsageError, match="No such file"):
        trust_of("/etc/passwd", "/nowhere", "/etc/passwd")
    assert trust_of("/etc/passwd", "/etc/passwd", "/etc/passwd") == FarmTrust(
        ca="/etc/passwd", cert="/etc/passwd", key="/etc/passwd"
    )
    assert Alive().busy == 0
