"""Trees on disk: materialize, unpack and diff, and the laws between them and pack."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fuzz import examples
from tests.unit.layer.layer_samples import archive, file, make, pax, plain, raw, scan, tar_of
from tiffin.builder import owner_xattrs
from tiffin.builder.errors import BuildError, CorruptError, ImageError, StoreError
from tiffin.builder.layer.change import Change
from tiffin.builder.layer.compression.readahead import read_ahead
from tiffin.builder.layer.disk.diff import diff_upper
from tiffin.builder.layer.disk.tree_writer import TreeWriter
from tiffin.builder.layer.index import Entry, new_entry, sort_key
from tiffin.builder.layer.unpack import index_layer, materialize, unpack

IS_ROOT = os.geteuid() == 0
OWN: dict[str, Any] = {"uid": os.geteuid(), "gid": os.getegid()}


def repacked(tree: Path) -> bytes:
    return tar_of(diff_upper(tree))[0]


def unpacked(tar: bytes, tree: Path) -> list[Entry]:
    tree.mkdir()
    return list(unpack(io.BytesIO(tar), tree).entries)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree"
    path.mkdir()
    return path


SAMPLE = [
    make("d", "dir", 0o2775, mtime_ns=5_000_000_007, **OWN),
    file("d/f", b"hello", 0o4755, mtime_ns=1_700_000_000_123_456_789, **OWN),
    make("d/g", "hardlink", link="d/f"),
    make("d/p", "fifo", 0o640, mtime_ns=3, **OWN),
    make("d/q", "hardlink", link="d/p"),
    make("d/s", "symlink", link="../nowhere", mtime_ns=-5_000_000_000, **OWN),
    make("d/t", "hardlink", link="d/s"),
    make("d/sub", "dir", 0o1700, **OWN),
    make("d/sub/gone", "whiteout"),
    make("o", "dir", 0o755, opaque=True, mtime_ns=1, **OWN),
    file("o/caf\u00e9\udcff", b"x", xattrs=(("user.k\u00e9", b"a\nb=\0\xff"),), **OWN),
    file("old", mtime_ns=-1_500_000_000, **OWN),
]


def test_pack_diff_materialize_gives_the_same_bytes(tree: Path) -> None:
    materialize(SAMPLE, tree)
    assert repacked(tree) == tar_of(SAMPLE)[0]


def test_pack_diff_unpack_gives_the_same_bytes_and_index(tmp_path: Path) -> None:
    data, index = tar_of(SAMPLE)
    assert unpacked(data, tmp_path / "tree") == list(index.entries)
    assert repacked(tmp_path / "tree") == data


def test_bytes_do_not_depend_on_umask(tree: Path) -> None:
    before = os.umask(0o077)
    try:
        materialize(SAMPLE, tree)
    finally:
        os.umask(before)
    assert repacked(tree) == tar_of(SAMPLE)[0]


def test_tree_is_what_overlayfs_takes(tree: Path) -> None:
    materialize(SAMPLE, tree)
    gone = os.lstat(tree / "d/sub/gone")
    assert stat.S_ISCHR(gone.st_mode) and gone.st_rdev == 0
    assert os.getxattr(tree / "o", "user.overlay.opaque") == b"y"
    assert os.lstat(tree / "d/f").st_ino == os.lstat(tree / "d/g").st_ino


def test_names_do_not_depend_on_the_locale(tree: Path) -> None:
    materialize(SAMPLE, tree)
    code = """if True:
        import hashlib, sys
        from pathlib import Path
        from tiffin.builder.layer.disk.diff import diff_upper
        from tiffin.builder.layer.pack import pack_layer
        from tiffin.builder.layer.unpack import materialize
        changes = diff_upper(Path(sys.argv[1]))
        Path(sys.argv[2]).mkdir()
        materialize(changes, Path(sys.argv[2]))
        again = pack_layer(diff_upper(Path(sys.argv[2])), blobs=None, compression=None)
        sys.stdout.write(again.diff_id.hex + " " + sys.getfilesystemencoding())
    """
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    reported = subprocess.run(
        [sys.executable, "-c", code, tree, tree.with_name("copy")],
        env=environment, capture_output=True, text=True, check=True, timeout=60, cwd=Path(__file__).parents[3],
    ).stdout  # fmt: skip
    assert reported.split()[0] == hashlib.sha256(tar_of(SAMPLE)[0]).hexdigest()
    assert reported.split()[1] != "utf-8", "this tests nothing"


def test_set_group_id_of_a_parent_is_not_handed_down(tmp_path: Path) -> None:
    above = tmp_path / "above"
    above.mkdir()
    if IS_ROOT:
        os.chown(above, -1, 50)
    above.chmod(0o2755)
    tree = above / "tree"
    tree.mkdir()
    materialize(SAMPLE, tree)
    assert repacked(tree) == tar_of(SAMPLE)[0]
    assert os.lstat(tree / "d/f").st_gid == os.getegid()


def test_sockets_and_whiteouts_below_opaque_directories_are_left_out(tree: Path) -> None:
    materialize([make("o", "dir", opaque=True, **OWN), make("o/d", "dir", **OWN), make("o/d/w", "whiteout")], tree)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tree / "sock"))
    assert [change.entry.path for change in diff_upper(tree)] == ["o", "o/d"]


def test_diff_ignores_what_overlayfs_notes(tree: Path) -> None:
    (tree / "f").write_text("x")
    for name in ("user.overlay.origin", "user.overlay.impure", "user.overlay.redirect", "user.kept"):
        os.setxattr(tree / "f", name, b"1")
    assert diff_upper(tree)[0].entry.xattrs == (("user.kept", b"1"),)


def test_attribute_of_an_overlay_inside_is_unescaped_and_never_put_on_a_tree(tmp_path: Path, tree: Path) -> None:
    (tree / "d").mkdir()
    os.setxattr(tree / "d", "user.overlay.overlay.opaque", b"y")
    changes = diff_upper(tree)
    assert (changes[0].entry.xattrs, changes[0].entry.opaque) == ((("user.overlay.opaque", b"y"),), False)
    other = tmp_path / "other"
    other.mkdir()
    materialize(changes, other)
    assert os.listxattr(other / "d") == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"c 1:3 0666", ("char", 1, 3, 0o666)),
        (b"b 8:0 0640", ("block", 8, 0, 0o640)),
        (b"c 0:0 0666", None),
        (b"c 1:x", None),
        (b"", None),
        (b"c 99999999999:1", None),
    ],
)
def test_placeholders_of_devices(tree: Path, value: bytes, expected: tuple[str, int, int, int] | None) -> None:
    (tree / "null").touch()
    os.setxattr(tree / "null", owner_xattrs.DEVICE, value)
    if IS_ROOT:  # who can read attributes nobody else may
        (tree / "null").chmod(0)
    mode = stat.S_IMODE(os.lstat(tree / "null").st_mode)
    entry = diff_upper(tree)[0].entry
    kind, major, minor, own_mode = expected or ("file", 0, 0, mode)
    assert (entry.kind, entry.major, entry.minor, entry.mode) == (kind, major, minor, mode or own_mode)
    assert entry.xattrs == ()


def test_placeholder_that_was_written_to_is_a_file(tree: Path) -> None:
    (tree / "null").write_text("data")
    os.setxattr(tree / "null", owner_xattrs.DEVICE, b"c 1:3 0666")
    assert diff_upper(tree)[0].entry.kind == "file"


@pytest.mark.parametrize(
    ("value", "expected"), [(b"5:6", (5, 6)), (b"4294967295:0", None), (b"x:1", None), (b"-1:1", None)]
)
def test_owner_beside_an_inode(tree: Path, value: bytes, expected: tuple[int, int] | None) -> None:
    (tree / "f").touch()
    os.setxattr(tree / "f", owner_xattrs.OWNER, value)
    entry = diff_upper(tree)[0].entry
    assert (entry.uid, entry.gid) == (expected or (os.geteuid(), os.lstat(tree / "f").st_gid))


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE])
def test_records_of_owners_are_never_taken_from_a_layer(tree: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("x")
    member.type, member.linkname, member.mode = kind, "y" if kind == tarfile.SYMTYPE else "", 0o755
    member.uid, member.gid = os.geteuid(), os.getegid()
    record = owner_xattrs.link_record(33, 33).decode("utf-8", "surrogateescape")
    taken = {} if kind in (tarfile.REGTYPE, tarfile.DIRTYPE) else {"SCHILY.xattr.security.capability": record}
    member.pax_headers = {
        "SCHILY.xattr.user.tiffin.owner": "33:33",
        "SCHILY.xattr.user.tiffin.device": "c 1:3",
        **taken,
    }
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member)
    unpack(io.BytesIO(stream.getvalue()), tree)
    assert os.listxattr(tree / "x", follow_symlinks=False) == []
    entry = diff_upper(tree)[0].entry
    assert (entry.uid, entry.gid, entry.xattrs) == (os.geteuid(), os.getegid(), ())


@pytest.mark.skipif(not IS_ROOT, reason="needs CAP_SETFCAP")
@pytest.mark.parametrize("kind", ["symlink", "fifo"])
def test_owner_kept_beside_what_takes_no_attributes_of_users(tree: Path, kind: str) -> None:
    if kind == "symlink":
        (tree / "x").symlink_to("y")
    else:
        os.mkfifo(tree / "x")
    os.setxattr(tree / "x", owner_xattrs.CAPABILITY, owner_xattrs.link_record(33, 44), follow_symlinks=False)
    entry = diff_upper(tree)[0].entry
    assert (entry.uid, entry.gid, entry.xattrs) == (33, 44, ())


# -- content ---------------------------------------------------------------------------------------------------------

MIB = 1 << 20


def opener(path: Path) -> Callable[[], BinaryIO]:
    return lambda: cast(BinaryIO, path.open("rb", buffering=0))


def sparse_content() -> bytes:
    return b"a" * 100 + bytes(3 * MIB) + b"b" * MIB + bytes(MIB + 17)


def blocks(path: Path) -> int:
    return os.stat(path).st_blocks * 512


def test_bytes_do_not_depend_on_holes(tmp_path: Path, tree: Path) -> None:
    content = sparse_content()
    (tmp_path / "dense").write_bytes(content)
    dense = Change(file("f", content, **OWN).entry, opener(tmp_path / "dense"))
    data, _ = tar_of([dense])
    for number, tree in enumerate((tmp_path / "a", tmp_path / "b")):
        tree.mkdir()
        if number:
            materialize([dense], tree)
        else:
            unpack(io.BytesIO(data), tree)
        assert (tree / "f").read_bytes() == content
        assert repacked(tree) == data
    assert blocks(tmp_path / "a/f") < 2 * MIB, "long runs of zeros take room on disk"


def test_holes_of_a_source_file_are_kept(tmp_path: Path, tree: Path) -> None:
    source = tmp_path / "source"
    with source.open("wb") as stream:
        stream.write(b"head")
        stream.seek(50 * MIB)
        stream.write(b"tail")
        stream.truncate(60 * MIB)
    entry = new_entry("f", "file", 0o644)._replace(size=60 * MIB, **OWN)
    materialize([Change(entry, opener(source))], tree)
    assert (tree / "f").read_bytes() == source.read_bytes()
    assert blocks(tree / "f") < 2 * MIB


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, MIB - 1, MIB, MIB + 1, 3 * MIB + 5])
def test_sizes_around_blocks_and_chunks(tmp_path: Path, tree: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    data, _ = tar_of([file("f", content[:size], **OWN)])
    unpack(io.BytesIO(data), tree)
    assert (tree / "f").read_bytes() == content[:size]
    assert repacked(tree) == data


@pytest.mark.parametrize("size", [3, 7, 400_000, 600_000])
def test_source_of_another_size_is_named(tmp_path: Path, tree: Path, size: int) -> None:
    (tmp_path / "source").write_bytes(bytes(size))
    for promised in (5, 500_000):
        entry = new_entry("etc/conf" if promised == 5 else "etc/big", "file", 0o644)._replace(size=promised)
        changes = [make("etc", "dir"), Change(entry, opener(tmp_path / "source"))]
        target = tmp_path / f"tree-{promised}"
        target.mkdir()
        with pytest.raises(BuildError, match="changed its size"):
            materialize(changes, target)


def test_gnu_sparse_files_are_read(tmp_path: Path) -> None:
    records = pax(GNU__sparse__map=b"0,3,1000000,4", GNU__sparse__size=b"2000000", GNU__sparse__name=b"real")
    tar = archive(raw("GNUSparseFile.0/real", data=b"abcwxyz", records=records)).getvalue()
    expected = b"abc" + bytes(999_997) + b"wxyz" + bytes(999_996)
    entries = unpacked(tar, tmp_path / "tree")
    assert (tmp_path / "tree/real").read_bytes() == expected
    assert [(entry.path, entry.size, entry.offset) for entry in entries] == [("real", 2_000_000, -1)]
    assert entries == list(index_layer(io.BytesIO(tar)).entries)


# -- limits of the machine -------------------------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.heavy
def test_deep_trees_need_neither_recursion_nor_descriptors(tmp_path: Path) -> None:
    path = "/".join(["d"] * 1900)
    changes = [make("/".join(["d"] * depth), "dir", **OWN) for depth in range(1, 1901)]
    data, index = tar_of([*changes, file(f"{path}/f", b"x", **OWN)])
    try:
        assert unpacked(data, tmp_path / "tree") == list(index.entries)
        assert repacked(tmp_path / "tree") == data
    finally:
        remove_deep(tmp_path / "tree")


def remove_deep(tree: Path) -> None:
    """Flatten a chain of directories, as shutil cannot."""
    top = os.open(tree, os.O_RDONLY)
    while "d" in os.listdir(top):
        os.rename("d", "old", src_dir_fd=top, dst_dir_fd=top)
        inner = os.open("old", os.O_RDONLY, dir_fd=top)
        for name in os.listdir(inner):
            os.rename(name, name, src_dir_fd=inner, dst_dir_fd=top)
        os.close(inner)
        os.rmdir("old", dir_fd=top)
    os.close(top)


def test_path_no_layer_can_hold_is_named(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    fd = os.open(tree, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=fd)
        inner = os.open("d" * 250, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    with pytest.raises(BuildError, match="too long for a layer"):
        diff_upper(tree)


def test_many_directories_open_few_descriptors(tree: Path) -> None:
    materialize([make(f"d{number}", "dir", **OWN) for number in range(300)], tree)
    before = len(os.listdir("/proc/self/fd"))
    changes = diff_upper(tree)
    assert len(os.listdir("/proc/self/fd")) - before < 50
    del changes
    assert len(os.listdir("/proc/self/fd")) == before


def test_full_disk_is_a_store_error(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StoreError, match="no space left"):
        unpack(archive(raw("f", data=b"x")), tree)


def test_missing_upper_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"cannot read .*nowhere"):
        diff_upper(tmp_path / "nowhere")


# -- reading ahead ---------------------------------------------------------------------------------------------------


class Failing:
    def __init__(self) -> None:
        self.left = 3

    def read(self, size: int = -1, /) -> bytes:
        self.left -= 1
        if not self.left:
            raise CorruptError("the stream is damaged")
        return bytes(512) if self.left else b""


def test_errors_of_the_stream_are_raised_and_its_thread_ends(tree: Path) -> None:
    before = threading.active_count()
    with pytest.raises(CorruptError, match="the stream is damaged"):
        unpack(Failing(), tree)  # type: ignore[arg-type]  # as much of a stream as is used
    assert threading.active_count() == before


def test_thread_ends_when_the_layer_is_refused(tree: Path) -> None:
    before = threading.active_count()
    with pytest.raises(ImageError):
        unpack(archive(raw("../x"), *[raw("y", data=bytes(8 << 20))] * 8), tree)
    assert threading.active_count() == before


def test_reading_ahead_gives_all_bytes_in_order() -> None:
    data = os.urandom(20 << 20)
    with read_ahead(io.BytesIO(data)) as ahead:
        assert b"".join(iter(lambda: ahead.read(7), b"")) == data
        assert ahead.read(7) == b""


# -- a racer ----------------------------------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.attack("T5")
@pytest.mark.heavy
def test_racing_symlink_leads_nothing_out_of_the_root(tmp_path: Path) -> None:
    """A thread swaps directories of the tree for links to a canary while they are filled and completed."""
    canary = tmp_path / "canary"
    canary.mkdir()
    os.utime(canary, ns=(7, 7))
    before = scan(canary)
    members = [raw(f"d/s{number % 97}/f{number}", data=b"evil") for number in range(300)]
    stop = threading.Event()
    current = [tmp_path]
    swapped = 0

    def swap() -> None:
        nonlocal swapped
        while not stop.is_set():
            folder = current[0] / "d"
            with contextlib.suppress(OSError):
                for name in os.listdir(folder):
                    if not name.endswith("-moved"):
                        os.rename(folder / name, folder / f"{name}-moved")
                        os.symlink(canary, folder / name)
                        swapped += 1

    racer = threading.Thread(target=swap)
    racer.start()
    try:
        for number in range(300):
            if number >= 30 and swapped > 100:  # on a busy machine the racer is late
                break
            current[0] = tmp_path / f"tree-{number}"
            current[0].mkdir()
            with contextlib.suppress(StoreError, ImageError):  # what a disturbed tree deserves
                unpack(archive(*members), current[0])
    finally:
        stop.set()
        racer.join()
    assert swapped > 100, "the racer did not race"
    assert scan(canary) == before, "a write went through a symlink"


@pytest.mark.parametrize("moment", ["before writing", "before completing"])
def test_directory_swapped_for_a_link_is_an_error(tmp_path: Path, tree: Path, moment: str) -> None:
    canary = tmp_path / "canary"
    canary.mkdir()
    before = scan(canary)
    with pytest.raises(StoreError), TreeWriter(tree) as writer:
        writer.put(new_entry("d", "dir", 0o755))
        if moment == "before completing":
            writer.put(file("d/f").entry)
        (tree / "d").rename(tree / "moved")
        (tree / "d").symlink_to(canary)
        if moment == "before writing":
            writer.put(file("d/f").entry)
        writer.finish()
    assert scan(canary) == before, "a write went through a symlink"


@pytest.mark.parametrize("kind", ["file", "dir", "symlink", "hardlink", "fifo", "whiteout"])
@pytest.mark.parametrize("planted", ["canary", "canary/f", "nothing"])
def test_nothing_is_written_through_a_link_planted_at_its_name(
    tmp_path: Path, tree: Path, kind: str, planted: str
) -> None:
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "f").write_text("precious")
    before = scan(tmp_path / "canary")
    entry = new_entry("planted", kind, 0o666)  # one of the kinds
    entry = entry._replace(link="f") if kind in ("symlink", "hardlink") else entry
    with pytest.raises((StoreError, ImageError)), TreeWriter(tree) as writer:
        writer.put(file("f").entry)
        (tree / "planted").symlink_to(tmp_path / planted)
        if kind == "file":
            writer.put(file("planted", data=b"data").entry, io.BytesIO(b"data"))
        else:
            writer.put(entry)
        writer.finish()
    assert scan(canary) == before, "a write went through a symlink"
    assert not (tmp_path / "nothing").exists(), "a write went through a symlink"


# -- laws over generated layers --------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "a-b", "a.b", "caf\u00e9", "\udcff", "x" * 120, "\U0001f600", "sp ace", "\n"])
TIMES = st.one_of(st.integers(0, 2**33), st.integers(0, 2**31).map(lambda s: s * 10**9), st.integers(-(10**18), 10**18))
IDS = st.sampled_from([0, 1000, 2**21, 2**31 + 5]) if IS_ROOT else st.just(None)
MODES = st.integers(0, 0o7777) if IS_ROOT else st.integers(0, 0o7777).map(lambda mode: mode | 0o700)
XATTRS = st.dictionaries(st.sampled_from(["user.a", "user.\u00e9"]), st.binary(max_size=40), max_size=2)


@st.composite
def layers(draw: st.DrawFn) -> list[Change]:
    """Changes as a step may make them: parents present, links to what is there."""
    made: dict[str, Change] = {}

    def add(path: str, kind: str, depth: int) -> None:
        uid, gid = draw(IDS), draw(IDS)
        entry = new_entry(path, kind, 0o777 if kind == "symlink" else draw(MODES), mtime_ns=draw(TIMES))._replace(
            uid=os.geteuid() if uid is None else uid, gid=os.getegid() if gid is None else gid
        )
        data = b""
        if kind == "whiteout":
            entry = new_entry(path, "whiteout", 0)
        elif kind == "symlink":
            entry = entry._replace(link=draw(st.sampled_from(["x", "../..", "/etc", "y" * 150, "\udcfe"])))
        elif kind == "hardlink":
            targets = [p for p, c in made.items() if c.entry.kind in ("file", "symlink", "fifo")]
            if not targets:
                return
            entry = entry._replace(link=draw(st.sampled_from(targets)))
        elif kind in ("file", "dir"):
            entry = entry._replace(xattrs=tuple(sorted(draw(XATTRS).items())))
        if kind == "file":
            data = draw(st.one_of(st.binary(max_size=20), st.integers(0, 200_000).map(bytes)))
            entry = entry._replace(size=len(data))
        elif kind == "dir":
            entry = entry._replace(opaque=draw(st.booleans()))
        made[path] = Change(entry, partial(io.BytesIO, data) if data else None)
        if kind == "dir" and depth < 3:
            fill(f"{path}/", depth + 1, hidden=entry.opaque)

    def fill(prefix: str, depth: int, *, hidden: bool) -> None:
        for name in draw(st.lists(NAMES, unique=True, max_size=4)):
            kinds = ["file", "dir", "symlink", "hardlink", "fifo", *([] if hidden_above(prefix) else ["whiteout"])]
            add(prefix + name, draw(st.sampled_from(kinds)), depth)

    def hidden_above(prefix: str) -> bool:
        parts = prefix.rstrip("/").split("/")
        above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        return any(path in made and made[path].entry.opaque for path in above)

    fill("", 0, hidden=False)
    return list(made.values())


@pytest.mark.thorough
@given(layers())
@settings(max_examples=examples(150), deadline=None, database=None)
def test_pack_diff_and_unpack_agree(changes: list[Change]) -> None:
    data, index = tar_of(changes)
    assert index_layer(io.BytesIO(data)).entries == index.entries
    assert [entry.path for entry in index.entries] == sorted((entry.path for entry in index.entries), key=sort_key)
    for temporary in trees():
        assert unpack(io.BytesIO(data), temporary).entries == index.entries
        assert repacked(temporary) == data
    for temporary in trees():
        materialize(changes, temporary)
        entries = [change.entry for change in diff_upper(temporary)]
        assert plain(entries) == plain(entry._replace(digest="") for entry in index.entries)
        assert repacked(temporary) == data


def trees() -> Iterator[Path]:
    """One new directory, removed after use."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "tree"
        path.mkdir()
        yield path


@given(st.binary(max_size=2000), st.integers(0, 3000))
@settings(max_examples=examples(300), deadline=None, database=None)
def test_no_bytes_make_the_reader_fail_otherwise(noise: bytes, position: int) -> None:
    """A valid archive with noise in it is read or refused; never another error, never without end."""
    whole = bytearray(tar_of(SAMPLE)[0])
    whole[position : position + len(noise)] = noise
    with contextlib.suppress(CorruptError, ImageError):
        index_layer(io.BytesIO(bytes(whole)))


@given(st.integers(0, 5), st.integers(0, 511), st.integers(0, 255))
@settings(max_examples=examples(300), deadline=None, database=None)
def test_no_header_byte_makes_the_reader_fail_otherwise(member: int, offset: int, value: int) -> None:
    """As above, with the checksum made right again, so that the fields themselves are tried."""
    blocks = [raw("d/", "dir"), raw("d/f", data=b"x"), raw("l", "hardlink", link="d/f"), raw("c", "fifo"),
              raw("s", "symlink", link="x"), raw("p", records=pax(mtime=b"1.5", GNU__sparse__map=b"0,0"))]  # fmt: skip
    block = bytearray(blocks[member])
    block[offset] = value
    head = bytes(block[:148]) + b" " * 8 + bytes(block[156:512])
    block[148:156] = b"%06o\0 " % sum(head)
    blocks[member] = bytes(block)
    with contextlib.suppress(CorruptError, ImageError):
        index_layer(archive(*blocks))
