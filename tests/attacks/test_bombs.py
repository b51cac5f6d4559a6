"""Small input that asks for much: memory stays bounded, the error says what is wrong, the disk is clean afterwards."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import resource
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from tests.attacks.harness import Harness, error_of
from tests.conftest import Run
from tests.fakes.registry import fake_registry
from tiffin.builder.errors import CorruptError, ImageError, TiffinError
from tiffin.builder.layer.compression.codecs import decompressor
from tiffin.builder.layer.tar import reader as tar_reader
from tiffin.builder.layer.unpack import index_layer, unpack
from tiffin.cache.foundation.files import remove_tree

MIB = 1 << 20
BOMB_BYTES = 192 * MIB
BOUND_BYTES = 64 * MIB  # by which a process may grow over a bomb
# a process begins with the peak of the one it is a copy of: this one is small
PEAK_OF = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(code)
"""
HEADER_RECORD = b"%d path=%s\n"


def growth_of(act: Callable[[], object]) -> tuple[int, str]:
    """By how much the memory of a process grows that does it, at its peak; and the name of the error it ends with."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        before, ended = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize(), "nothing"
        try:
            act()
        except TiffinError as exc:
            ended = type(exc).__name__
        except BaseException as exc:
            ended = f"unforeseen {exc!r}"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        os.write(writing, json.dumps([peak - before, ended]).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        answer = stream.read()
    assert os.waitpid(pid, 0)[1] == 0 and answer, "the process ended otherwise"
    grown, ended = json.loads(answer)
    return grown, ended


def zeros(pack: Callable[[bytes], bytes], finish: Callable[[], bytes], size: int = BOMB_BYTES) -> bytes:
    return b"".join([*(pack(bytes(MIB)) for _ in range(size // MIB)), finish()])


def bombs() -> Iterator[tuple[str, bytes]]:
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    yield "gzip", zeros(deflate.compress, deflate.flush)
    zstd = zstandard.ZstdCompressor(level=19).compressobj()
    yield "zstd", zeros(zstd.compress, zstd.flush)
    # blocks of four bytes for 128 KiB each, which a compressor does not write
    block = (128 << 10 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    last = (128 << 10 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"
    yield "zstd", b"\x28\xb5\x2f\xfd\x00\x48" + block * 16383 + last
    bzip2 = bz2.BZ2Compressor()
    yield "bzip2", zeros(bzip2.compress, bzip2.flush, BOMB_BYTES // 4)
    xz = lzma.LZMACompressor(preset=1)
    yield "xz", zeros(xz.compress, xz.flush)


def drain(kind: str, blob: bytes) -> None:
    with decompressor(io.BytesIO(blob), kind) as stream:
        while stream.read(MIB):
            pass


@pytest.mark.attack("T10")
def test_ratio_of_compression() -> None:
    """CVE-2017-14992, CVE-2025-66471: what a few bytes expand to is never held at once."""
    for kind, blob in bombs():
        grown, ended = growth_of(lambda kind=kind, blob=blob: drain(kind, blob))  # type: ignore[misc]
        assert ended in ("nothing", "CorruptError")
        assert grown < BOUND_BYTES, f"{len(blob)} bytes of {kind} took {grown >> 20} MiB of memory"


@pytest.mark.attack("T10")
def test_memory_a_stream_asks_for() -> None:
    """A few bytes whose header wants a window of gibibytes: refused, whether it would be touched or not."""
    filters = [
        {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29, "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3, "nice_len": 8}
    ]
    xz = lzma.compress(b"x", filters=filters)
    window = (28 - 10) << 3  # 2**28, in a frame with one block, of the byte x
    zstd = b"\x28\xb5\x2f\xfd\0" + bytes([window]) + (1 << 3 | 1).to_bytes(3, "little") + b"x"
    for kind, blob in (("xz", xz), ("zstd", zstd)):
        with pytest.raises(CorruptError):
            drain(kind, blob)
    small = zstd.replace(bytes([window]), bytes([0]), 1)
    drain("xz", lzma.compress(b"x"))
    drain("zstd", small)


def header(name: str, kind: bytes, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


class Endless(io.RawIOBase):
    """`head`, then `part` for ever; counts what was read."""

    def __init__(self, head: bytes, part: bytes) -> None:
        super().__init__()
        self._left, self._part, self.count = head, part, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        assert size >= 0 and self.count < 4 << 30, "it is read without end"
        while len(self._left) < size:
            self._left += self._part * max(1, (size - len(self._left)) // len(self._part))
        data, self._left = self._left[:size], self._left[size:]
        self.count += len(data)
        return data


@pytest.mark.attack("T10")
@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_headers_of_a_gibibyte(kind: bytes) -> None:
    stream = Endless(header("h", kind, 1 << 30), b"1000000000 path=a")
    grown, ended = growth_of(lambda: index_layer(stream))  # type: ignore[arg-type]
    assert ended == "CorruptError" and grown < BOUND_BYTES
    with pytest.raises(CorruptError, match="has a header of 1073741824 bytes"):
        index_layer(stream)  # type: ignore[arg-type]
    assert stream.count < 32 * MIB, "a header that is refused is read"
    many = Endless(b"", header("h", kind, 512 << 10) + b"524288 path=" + b"a" * ((512 << 10) - 13) + b"\n")
    grown, ended = growth_of(lambda: index_layer(many))  # type: ignore[arg-type]
    assert ended == "CorruptError" and grown < BOUND_BYTES


@pytest.mark.attack("T10")
def test_entries_without_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gigabyte of zeros and headers compresses to a few megabytes: two million entries are the end."""
    monkeypatch.setattr(tar_reader, "MAX_ENTRIES", 20_000)
    stream = Endless(b"", b"".join(header(f"d{number}/f{number}", b"0", 0) for number in range(1000)))
    grown, ended = growth_of(lambda: index_layer(stream))  # type: ignore[arg-type]
    assert ended == "ImageError"
    assert grown / 20_000 < 3000, f"an entry takes {grown // 20_000} bytes of memory"


@pytest.mark.attack("T10")
def test_sparse_files_of_a_terabyte(tmp_path: Path) -> None:
    """CVE-2025-4517's cousins: holes cost the attacker nothing."""
    records = b"".join(record("GNU.sparse." + key, value) for key, value in
                       (("major", b"1"), ("minor", b"0"), ("name", b"f"), ("realsize", b"%d" % (1 << 40))))  # fmt: skip
    body = b"1\n0\n0\n".ljust(512, b"\0")
    tar = (
        header("x", b"x", len(records))
        + records.ljust(-(-len(records) // 512) * 512, b"\0")
        + header("f", b"0", 512)
        + body
    )
    for act in (
        lambda: index_layer(io.BytesIO(tar + bytes(1024))),
        lambda: unpack(io.BytesIO(tar + bytes(1024)), tmp_path),
    ):
        grown, ended = growth_of(act)
        assert ended in ("CorruptError", "ImageError") and grown < BOUND_BYTES
    parts = b"%d\n" % (1 << 20) + b"0\n0\n" * 200_000
    tar = header("x", b"x", len(records)) + records.ljust(512, b"\0") + header("f", b"0", 1 << 30)
    grown, ended = growth_of(lambda: index_layer(Endless(tar + parts, b"0\n0\n")))  # type: ignore[arg-type]
    assert ended == "CorruptError" and grown < 4 * BOUND_BYTES


def record(key: str, value: bytes) -> bytes:
    body = b" %s=%s\n" % (key.encode(), value)
    size = len(body) + len(str(len(body)))
    size = len(body) + len(str(size))
    return b"%d%s" % (size, body)


@pytest.mark.attack("T10")
@pytest.mark.network
def test_documents_of_a_gibibyte(tiffin: Run, root: Path) -> None:
    """CVE-2023-25153: a manifest, configuration, list or token is as long as the server likes."""
    digest = f"sha256:{'0' * 64}"
    manifest = {
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": 1 << 30},
        "layers": [],
    }
    with fake_registry() as fake:
        media_type = "application/vnd.oci.image.manifest.v1+json"
        fake.manifests["config"] = (json.dumps(manifest).encode(), media_type)
        fake.manifests["packed"] = (gzip.compress(bytes(64 * MIB)), media_type)
        fake.headers["packed"] = {"Content-Encoding": "gzip"}
        fake.manifests["large"] = (bytes(64 * MIB), media_type)
        for tag, words in (
            ("config", "has a configuration of 1073741824 bytes"),
            ("packed", "came as gzip, which was not asked for"),
            ("large", "is larger than 4194304 bytes"),
        ):
            done = tiffin("pull", f"{fake.host}/x:{tag}", check=False)
            assert words in error_of(done)
        assert not fake.seen("GET", "/blobs/"), "a configuration of a gibibyte was asked for"
    assert not [path for path in (root / "images/blobs/sha256").iterdir() if path.stat().st_size > 10 * MIB]


@pytest.mark.attack("T10")
def test_archives_with_headers_of_a_gibibyte(root: Path, tmp_path: Path) -> None:
    """`tiffin load` of a small file that expands to a header of a gibibyte."""
    with gzip.open(tmp_path / "bomb.tar.gz", "wb", 1) as stream:
        stream.write(header("h", b"x", 300 * MIB))
        for _ in range(300):
            stream.write(bytes(MIB))
    load = [sys.executable, "-m", "tiffin", "--root", str(root), "load", "-i", str(tmp_path / "bomb.tar.gz")]
    done = subprocess.run([sys.executable, "-c", PEAK_OF, *load], capture_output=True, text=True, check=False)
    assert "has a header of" in error_of(done)
    assert int(done.stdout) < 400 * MIB, f"tiffin load took {int(done.stdout) >> 20} MiB of memory"


@pytest.mark.attack("T10")
@pytest.mark.userns
@pytest.mark.xdist_group("attacks")
def test_ten_thousand_layers(root_harness: Harness) -> None:
    """More layers than any kernel mounts: COPY works, RUN says how many there may be."""
    distinct = [{f"f{number}": b"x"} for number in range(520)]
    root_harness.cli.make_image(*distinct, *distinct[:1] * 9480, name="high")
    done = root_harness.build("FROM high\nCOPY Dockerfile /f77\n")
    assert done.returncode == 0, done.stderr
    line = root_harness.refused("FROM high\nRUN true\n")
    assert "10000 layers" in line and "499 can be mounted" in line, line
    root_harness.run("rmi", "high")
    root_harness.run("system", "prune", "-f")


@pytest.mark.attack("T10")
def test_full_disk_is_clean_again(busybox: Path, tmp_path: Path) -> None:
    """A layer that expands beyond the disk: an error in words, nothing of it left."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(small)], check=True)
    harness = Harness.of(small)
    try:
        noise = b"much noise " * (4 * MIB)
        harness.cli.make_image(
            {"bin/busybox": (busybox / "rootfs/bin/busybox").read_bytes(), "noise": noise}, name="large"
        )
        before = used(small)
        for dockerfile in ("FROM large\nRUN true\n", "FROM large\nCOPY --from=large /noise /twice\n"):
            line = error_of(harness.build(dockerfile))
            assert "no space left" in line or "No space left" in line, line
            assert list((small / "state/tmp").iterdir()) == [], "a full disk stays full"
            assert used(small) < before + 4 * MIB
    finally:
        subprocess.run(["umount", str(small)], check=True)


def used(folder: Path) -> int:
    st = os.statvfs(folder)
    return (st.f_blocks - st.f_bfree) * st.f_frsize


@pytest.mark.attack("T10", "T11")
def test_deep_paths_and_documents(tmp_path: Path) -> None:
    """Recursion is what an attacker decides the depth of."""
    from tiffin.builder.oci.config import ImageConfig
    from tiffin.builder.oci.spec import Index, Manifest

    for text in (b"[" * 100_000, b'{"a":' * 100_000, b'{"config":' + b"[" * 100_000 + b"]" * 100_000 + b"}"):
        for decode in (ImageConfig.decode, Manifest.decode, Index.decode):
            with pytest.raises(ImageError):
                decode(text)
    names = [f"{'d/' * depth}f" for depth in (10, 1500)]
    tar = b"".join(
        header("L", b"L", len(name) + 1)
        + name.encode().ljust(-(-(len(name) + 1) // 512) * 512, b"\0")
        + header("f", b"0", 0)
        for name in names
    )
    tree = tmp_path / "tree"
    tree.mkdir()
    index = unpack(io.BytesIO(tar + bytes(1024)), tree)
    assert len(index.entries) == 1502
    remove_tree(tree)  # no recursion here either: pytest's own removal does not get so deep
