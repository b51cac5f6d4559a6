"""gzip in blocks: any gunzip reads it, its bytes depend on the content alone, and what is dense already is stored."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import random
from collections.abc import Callable

import pytest
import zstandard

from tiffin.builder.errors import CorruptError
from tiffin.builder.layer.compression import codecs as compress
from tiffin.builder.layer.compression.codecs import (
    GZIP_BLOCK_BYTES,
    GZIP_PIECE_BYTES,
    Compression,
    compressor,
    decompressor,
)

RANDOM = random.Random(1).randbytes(3 * GZIP_BLOCK_BYTES)
TEXT = b"".join(b"line %d of a file\n" % number for number in range(150_000))
MIXED = b"".join(RANDOM[at : at + GZIP_PIECE_BYTES] + TEXT[at : at + 70_000] for at in range(0, 1 << 21, 1 << 18))
CONTENTS = {
    "empty": b"",
    "short": b"x",
    "one byte less than a block": TEXT[: GZIP_BLOCK_BYTES - 1],
    "a block": RANDOM[:GZIP_BLOCK_BYTES],
    "one byte more than a block": RANDOM[: GZIP_BLOCK_BYTES + 1],
    "a dense piece at the end": TEXT[:GZIP_BLOCK_BYTES] + RANDOM[:GZIP_PIECE_BYTES],
    "mixed": MIXED,
    "random": RANDOM,
    "text": TEXT,
}


def packed(data: bytes, level: int | None = None, *, writes: int = 1 << 18) -> bytes:
    sink = io.BytesIO()
    with compressor(sink, Compression(kind="gzip", level=level)) as stream:
        for at in range(0, len(data), writes):
            stream.write(data[at : at + writes])
    return sink.getvalue()


@pytest.mark.thorough
@pytest.mark.parametrize("level", [None, 0, 1, 6, 9])
@pytest.mark.parametrize("content", CONTENTS)
def test_any_gunzip_reads_it(content: str, level: int | None) -> None:
    assert gzip.decompress(packed(CONTENTS[content], level)) == CONTENTS[content]


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_bytes_depend_on_neither_threads_nor_sizes_of_writes(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = packed(MIXED)
    monkeypatch.setattr(compress, "MAX_THREADS", threads)
    assert packed(MIXED, writes=77_777) == expected


def test_what_is_dense_is_stored_and_nothing_else() -> None:
    assert len(packed(RANDOM)) < len(RANDOM) * 1.001
    assert len(packed(TEXT)) < len(TEXT) / 4
    encoded = base64.b64encode(RANDOM)  # no repetition, but six bits in each byte
    assert len(packed(encoded)) < len(encoded) * 0.8
    dense = (1 << 21) // (1 << 18) * GZIP_PIECE_BYTES
    assert dense < len(packed(MIXED)) < dense * 1.2


def test_headers_between_small_dense_files_are_compressed() -> None:
    files = b"".join(
        RANDOM[at : at + 3000] + bytes(72) + b"ustar\0name of a file".ljust(512, b"\0")
        for at in range(0, 1 << 20, 3000)
    )
    assert len(packed(files)) < len(files) * 0.87


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
def test_streams_that_are_cut_off_are_damaged(kind: str) -> None:
    """Not shorter: who adds an archive has no digest to compare."""
    packers: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "zstd": zstandard.compress,
        "bzip2": bz2.compress,
        "xz": lzma.compress,
    }
    whole = packers[kind](RANDOM[:100_000])
    with decompressor(io.BytesIO(whole), "auto") as stream:
        assert stream.read() == RANDOM[:100_000]
    for length in (len(whole) - 1, len(whole) // 2, 20):
        with decompressor(io.BytesIO(whole[:length]), "auto") as stream, pytest.raises(CorruptError):
            stream.read()
