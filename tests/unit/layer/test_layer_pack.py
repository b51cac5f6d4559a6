from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from pathlib import Path

import pytest

from tests.unit.layer.layer_samples import file, make, plain, tar_of
from tiffin.builder.errors import BuildError
from tiffin.builder.layer.change import Change
from tiffin.builder.layer.compression.codecs import Compression, decompressor
from tiffin.builder.layer.index import new_entry
from tiffin.builder.layer.pack import pack, pack_layer, pumped
from tiffin.builder.layer.tar.writer import END_OF_ARCHIVE, header
from tiffin.builder.layer.unpack import index_layer
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.statedir import StateDir


def opened(data: bytes) -> tarfile.TarFile:
    """Python's reader of a tar; it holds no descriptor."""
    return tarfile.open(fileobj=io.BytesIO(data))


LONG = "d" * 90 + "/" + "e" * 90
SAMPLE = [
    make("d", "dir", 0o1777, mtime_ns=5 * 10**9),
    file("d/f", b"hello", 0o4755, uid=1000, gid=1000, mtime_ns=1_700_000_000_123_456_789),
    make("d/g", "hardlink", link="d/f"),
    make("d/s", "symlink", link="f"),
    make("d/c", "char", 0o666, major=1, minor=3),
    make("d/p", "fifo", 0o600),
    make("d/gone", "whiteout"),
    make("o", "dir", opaque=True),
    file("o/caf\u00e9", b"x", xattrs=(("user.k", b"a\nb=\0\xff"),)),
    file("big-id", uid=3_000_000, gid=4_000_000_000),
    make("d" * 90, "dir"),
    file(LONG, b"long"),
    file("old", mtime_ns=-1_500_000_000),
    file("bytes\udcff", b"y"),
]


def test_members_are_sorted_and_named_as_docker_names_them() -> None:
    data, _ = tar_of(SAMPLE)
    names = opened(data).getnames()
    assert names == [
        "big-id",
        "bytes\udcff",
        "d",
        "d/c",
        "d/f",
        "d/g",
        "d/.wh.gone",
        "d/p",
        "d/s",
        "d" * 90,
        LONG,
        "o",
        "o/.wh..wh..opq",
        "o/caf\u00e9",
        "old",
    ]
    assert not any(name.startswith("./") for name in names)
    assert b"d/\0" in data  # directories end in a slash


def test_python_tarfile_reads_what_was_packed() -> None:
    data, _ = tar_of(SAMPLE)
    archive = opened(data)
    member = archive.getmember("d/f")
    assert (member.mode, member.uid, member.size) == (0o4755, 1000, 5)
    assert member.pax_headers["mtime"] == "1700000000.123456789"
    link = archive.getmember("d/g")
    assert (link.type, link.linkname, link.size) == (tarfile.LNKTYPE, "d/f", 0)
    assert archive.getmember("big-id").uid == 3_000_000
    assert archive.getmember("big-id").gid == 4_000_000_000
    assert archive.getmember("old").mtime == -1.5
    assert (archive.getmember("d/c").devmajor, archive.getmember("d/c").devminor) == (1, 3)
    stream = archive.extractfile(LONG)
    assert stream is not None and stream.read() == b"long"


def test_no_pax_header_where_ustar_does() -> None:
    assert len(header(new_entry("a", "file", 0o644, mtime_ns=7 * 10**9), "a")) == 512
    assert len(header(new_entry(LONG, "file", 0o644), LONG)) == 512  # by the prefix field
    assert len(header(new_entry("a", "file", 0o644, mtime_ns=1), "a")) == 3 * 512


def test_sizes_beyond_ustar_are_told_in_pax() -> None:
    size = 9 << 30
    head = header(new_entry("a", "file", 0o644)._replace(size=size), "a")
    info = opened(head + bytes(512)).next()
    assert info is not None and info.size == size


def test_index_of_pack_is_index_of_the_tar() -> None:
    data, index = tar_of(SAMPLE)
    assert index_layer(io.BytesIO(data)).entries == index.entries


def test_offsets_and_digests_point_at_the_content() -> None:
    data, index = tar_of(SAMPLE)
    for entry in index.entries:
        if entry.kind == "file":
            content = data[entry.offset : entry.offset + entry.size]
            assert hashlib.sha256(content).hexdigest() == entry.digest


def test_bytes_do_not_depend_on_the_order_of_changes() -> None:
    assert tar_of(SAMPLE)[0] == tar_of(SAMPLE[::-1])[0]


def test_opaque_marker_comes_right_after_its_directory() -> None:
    names = opened(tar_of(SAMPLE)[0]).getnames()
    assert names.index("o/.wh..wh..opq") == names.index("o") + 1


def test_link_that_sorts_first_gets_the_content() -> None:
    data, index = tar_of([file("z", b"data"), make("a", "hardlink", link="z")])
    assert [(entry.path, entry.kind, entry.link) for entry in index.entries] == [
        ("a", "file", ""),
        ("z", "hardlink", "a"),
    ]
    assert opened(data).extractfile("a").read() == b"data"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (make("a", "hardlink", link="nowhere"), "leads to nothing"),
        (file(".wh.a"), "names beginning with .wh."),
        (make("d/.wh.a", "dir"), "names beginning with .wh."),
        (file("a", xattrs=(("user.a=b", b"x"),)), "cannot be in a layer"),
    ],
)
def test_what_a_layer_cannot_say_is_refused(change: Change, message: str) -> None:
    with pytest.raises(BuildError, match=message):
        tar_of([change])


@pytest.mark.parametrize("actual", [b"abc", b"abcdefgh"], ids=["shrank", "grew"])
def test_file_that_changes_its_size_is_named(actual: bytes) -> None:
    entry = new_entry("etc/conf", "file", 0o644)._replace(size=5)
    with pytest.raises(BuildError, match='"etc/conf" changed its size'):
        tar_of([Change(entry, lambda: io.BytesIO(actual))])


def test_archive_ends_as_tar_wants() -> None:
    assert tar_of([])[0] == END_OF_ARCHIVE
    assert len(tar_of(SAMPLE)[0]) % 512 == 0


@pytest.mark.parametrize("kind", ["none", "gzip", "zstd"])
def test_layer_blob_holds_the_tar(tmp_path: Path, kind: str) -> None:
    blobs = BlobStore(StateDir.open(tmp_path / "state"))
    reported: list[int] = []
    packed = pack_layer(SAMPLE, blobs=blobs, compression=Compression(kind=kind), progress=reported.append)  # type: ignore[arg-type]
    assert packed.blob is not None
    with blobs.path(packed.blob.digest).open("rb") as raw, decompressor(raw, kind) as tar:
        data = tar.read()
    assert data == tar_of(SAMPLE)[0]
    assert packed.diff_id.hex == hashlib.sha256(data).hexdigest()
    assert packed.size_bytes == len(data) == reported[-1]
    assert blobs.size(packed.blob.digest) == packed.blob.size_bytes
    assert pack_layer(SAMPLE, blobs=None, compression=None).diff_id == packed.diff_id
    assert plain(packed.index.entries) == plain(index_layer(io.BytesIO(data)).entries)


class Full:
    """A sink that fails after some bytes."""

    def __init__(self, left: int) -> None:
        self.left = left

    def write(self, data: bytes, /) -> int:
        self.left -= len(data)
        if self.left < 0:
            raise OSError(28, "No space left on device")
        return len(data)


def big(count: int) -> list[Change]:
    return [file(f"f{number:03}", bytes(1 << 20)) for number in range(count)]


@pytest.mark.parametrize("left", [0, 5 << 20, (40 << 20) + 1000])
def test_failing_sink_ends_every_thread_and_is_raised(left: int) -> None:
    before = threading.active_count()
    with pytest.raises(OSError, match="No space"), pumped(Full(left)) as pump:
        pack(big(40), pump)
    assert threading.active_count() <= before, "those of earlier tests may end meanwhile"


def test_failing_source_ends_every_thread_and_leaves_no_blob(tmp_path: Path) -> None:
    def broken() -> io.BytesIO:
        raise BuildError("cannot read it")

    blobs = BlobStore(StateDir.open(tmp_path / "state"))
    before = threading.active_count()
    changes = [*big(5), Change(new_entry("z", "file", 0o644)._replace(size=1), broken)]
    with pytest.raises(BuildError, match="cannot read it"):
        pack_layer(changes, blobs=blobs, compression=Compression())
    assert threading.active_count() <= before, "those of earlier tests may end meanwhile"
    assert list(blobs) == []
    assert list((tmp_path / "state" / "tmp").iterdir()) == []
