"""zstd:chunked: a layer of zstd whose table tells the truth, and from which the very tar can be put together again."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import struct
from typing import Any

import pytest
import zstandard

from tests.support.random_layers import NOT_UTF_8, RandomLayers
from tests.unit.layer.layer_samples import file, make, tar_of
from tiffin.builder.layer.change import Change
from tiffin.builder.layer.compression import chunked, codecs
from tiffin.builder.layer.compression.chunked import CHUNK_BYTES, can_be_chunked
from tiffin.builder.layer.compression.codecs import CHUNKED, Compression, compressor, decompressor
from tiffin.builder.layer.compression.crc64 import Crc64

LOTS = random.Random(3)
MARK = "io.github.containers.zstd-chunked."


def packed(tar: bytes, pieces: int = 7001, level: int | None = None) -> tuple[bytes, dict[str, str]]:
    sink = io.BytesIO()
    told: dict[str, str] = {}
    with compressor(sink, Compression(kind="zstd:chunked", level=level), told) as writer:
        for start in range(0, len(tar), pieces):
            writer.write(tar[start : start + pieces])
    return sink.getvalue(), told


def skipped(blob: bytes, place: str) -> bytes:
    """The content of a frame of JSON, as its annotation says where it is."""
    offset, length, plain = (int(part) for part in place.split(":")[:3])
    assert blob[offset - 8 : offset] == b"\x50\x2a\x4d\x18" + struct.pack("<I", length)
    data = zstandard.ZstdDecompressor().decompressobj().decompress(blob[offset : offset + length])
    assert len(data) == plain
    return data


def contents(blob: bytes, entries: list[dict[str, Any]]) -> dict[str, bytes]:
    """What each file of the table holds, read by the offsets alone."""
    found: dict[str, bytes] = {}
    for number, entry in enumerate(entries):
        if "offset" not in entry:
            continue
        later = [other["offset"] for other in entries[number + 1 :] if other["name"] == entry["name"]]
        first = next(other for other in entries if other["name"] == entry["name"] and "endOffset" in other)
        part = blob[entry["offset"] : later[0] if later else first["endOffset"]]
        data = zstandard.ZstdDecompressor().decompressobj().decompress(part)
        if "chunkDigest" in entry:
            assert entry["chunkDigest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
            assert (entry["chunkSize"], entry.get("chunkOffset", 0)) == (len(data), len(found.get(entry["name"], b"")))
        found[entry["name"]] = found.get(entry["name"], b"") + data
    for entry in entries:
        if entry["type"] == "reg" and entry.get("size"):
            assert entry["digest"] == f"sha256:{hashlib.sha256(found[entry['name']]).hexdigest()}"
    return found


def assembled(rows: list[dict[str, Any]], files: dict[str, bytes]) -> bytes:
    """The tar, as tar-split puts it together."""
    result = b""
    assert [row["position"] for row in rows] == list(range(len(rows)))
    for row in rows:
        if row["type"] == 2:
            result += base64.b64decode(row["payload"])
        elif row.get("size"):
            data = files[row["name"]]
            checksum = Crc64()
            checksum.update(data)
            assert len(data) == row["size"] and base64.b64decode(row["payload"]) == checksum.digest()
            result += data
        else:
            assert row["payload"] is None
    return result


def check(tar: bytes, blob: bytes, annotations: dict[str, str]) -> list[dict[str, Any]]:
    with decompressor(io.BytesIO(blob), "zstd") as plain:
        assert plain.read() == tar
    place, split_place = annotations[f"{MARK}manifest-position"], annotations[f"{MARK}tarsplit-position"]
    offset, length = map(int, place.split(":")[:2])
    assert annotations[f"{MARK}manifest-checksum"] == (
        f"sha256:{hashlib.sha256(blob[offset : offset + length]).hexdigest()}"
    )
    toc = json.loads(skipped(blob, place))
    split_offset, split_length = map(int, split_place.split(":")[:2])
    digest = hashlib.sha256(blob[split_offset : split_offset + split_length]).hexdigest()
    assert (toc["version"], toc["tarSplitDigest"]) == (1, f"sha256:{digest}")
    numbers = [*place.split(":"), *split_place.split(":")]
    assert blob.endswith(struct.pack("<7Q", *map(int, numbers)) + b"GNUlInUx")
    rows = [json.loads(line) for line in skipped(blob, split_place).splitlines()]
    assert assembled(rows, contents(blob, toc["entries"])) == tar
    entries: list[dict[str, Any]] = toc["entries"]
    return entries


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(10))
def test_a_table_tells_the_truth_and_the_tar_can_be_put_together(seed: int) -> None:
    layers = RandomLayers(seed)
    below = layers.base()
    tar, index = tar_of(layers.over(below))
    entries = check(tar, *packed(tar, pieces=layers.random.choice([1, 511, 4096, 1 << 20])))
    plain = [entry for entry in entries if entry["type"] != "chunk"]
    assert len(plain) == len(index.entries) + sum(entry.opaque for entry in index.entries)


def test_entries_have_the_form_of_containers_storage() -> None:
    tar, _ = tar_of(
        [
            make("d", "dir", 0o2755, uid=5, gid=3_000_000, mtime_ns=1_500_000_000 * 10**9),
            make("d/c", "char", 0o600, major=1, minor=3),
            file("d/e"),
            file("d/f", b"text", 0o4755, mtime_ns=1_700_000_000_120_000_000, xattrs=(("user.a", b"\0\xff"),)),
            make("d/h", "hardlink", link="d/f"),
            make("d/s", "symlink", link="x" * 120),
            make("w", "whiteout"),
        ]
    )
    blob, annotations = packed(tar)
    rows = check(tar, blob, annotations)
    offsets = {key: rows[3].pop(key) for key in ("offset", "endOffset")}
    assert 0 < offsets["offset"] < offsets["endOffset"] < len(blob)
    zero = "1970-01-01T00:00:00Z"
    digest = hashlib.sha256(b"text").hexdigest()
    assert rows == [
        {"type": "dir", "name": "d/", "mode": 0o2755, "uid": 5, "gid": 3_000_000, "modtime": "2017-07-14T02:40:00Z"},
        {"type": "char", "name": "d/c", "mode": 0o600, "modtime": zero, "devMajor": 1, "devMinor": 3},
        {"type": "reg", "name": "d/e", "mode": 0o644, "modtime": zero},
        {
            "type": "reg",
            "name": "d/f",
            "mode": 0o4755,
            "size": 4,
            "modtime": "2023-11-14T22:13:20.12Z",
            "xattrs": {"user.a": "AP8="},
            "digest": f"sha256:{digest}",
        },
        {
            "type": "hardlink",
            "name": "d/h",
            "linkName": "d/f",
            "mode": 0o4755,
            "modtime": "2023-11-14T22:13:20.12Z",
        },
        {"type": "symlink", "name": "d/s", "linkName": "x" * 120, "mode": 0o777, "modtime": zero},
        {"type": "reg", "name": ".wh.w", "modtime": zero},
    ]


@pytest.mark.thorough
@pytest.mark.parametrize("size", [1, 511, 512, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 5])
def test_large_files_have_several_chunks(size: int) -> None:
    tar, _ = tar_of([file("a", LOTS.randbytes(size)), file("b", b"b" * size), file("c")])
    entries = check(tar, *packed(tar, pieces=100_000))
    chunks = -(-size // CHUNK_BYTES)
    assert [entry["type"] for entry in entries] == [*["reg", *["chunk"] * (chunks - 1)] * 2, "reg"]


def test_an_empty_layer() -> None:
    tar, _ = tar_of([])
    assert check(tar, *packed(tar)) == []


@pytest.mark.thorough
def test_the_bytes_are_the_same_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    tar, _ = tar_of([file(f"f{number}", LOTS.randbytes(LOTS.randint(0, 90_000))) for number in range(200)])
    found = set()
    for threads in (1, 2, 16):
        monkeypatch.setattr(codecs, "MAX_THREADS", threads)
        monkeypatch.setattr("os.cpu_count", lambda: 16)
        found.add(packed(tar, pieces=LOTS.randint(1000, 100_000))[0])
    assert len(found) == 1


def test_what_json_cannot_tell_is_not_chunked() -> None:
    layers = [
        [file(NOT_UTF_8, b"x")],
        [make("s", "symlink", link=NOT_UTF_8)],
        [file("f", b"x", mtime_ns=-1)],
        [file("f", b"x", mtime_ns=253_402_300_800 * 10**9)],
    ]
    assert not any(can_be_chunked([change.entry for change in layer]) for layer in layers)
    assert can_be_chunked([change.entry for change in [file("caf\u00e9\n", b"x"), Change(make("d", "dir").entry)]])
    assert Compression(kind=CHUNKED, level=22)


@pytest.mark.thorough
def test_a_table_that_podman_takes_for_too_large_is_not_written() -> None:
    paths = [f"opt/environment/lib/python3/site-packages/package/{number:06}/module.py" for number in range(2000)]
    tar, index = tar_of([file(path, b"x") for path in paths])
    _, annotations = packed(tar)
    row = int(annotations[f"{MARK}manifest-position"].split(":")[2]) / len(paths)
    assert 0.4 < row / chunked._row_bytes(index.entries[0]) < 1, "the limit is kept, and not by far"
    assert can_be_chunked([*index.entries] * 50) and not can_be_chunked([*index.entries] * 60)


@pytest.mark.thorough
def test_the_checksum_is_that_of_iso() -> None:
    checksum = Crc64()
    checksum.update(b"123456789")
    assert checksum.digest().hex() == "b90956c775a41001"
    for size in (0, 1, 7, 8, 9, 63, 64, 65, 1000, 200_000):
        data = LOTS.randbytes(size)
        parts = Crc64()
        for start in range(0, size, 313):
            parts.update(data[start : start + 313])
        whole = Crc64()
        whole.update(data)
        assert parts.digest() == whole.digest() == bit_by_bit(data)


def bit_by_bit(data: bytes) -> bytes:
    register = (1 << 64) - 1
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0xD800000000000000 if register & 1 else 0)
    return (register ^ ((1 << 64) - 1)).to_bytes(8, "big")
