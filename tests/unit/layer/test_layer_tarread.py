"""Hostile, damaged and foreign tars."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import time
from pathlib import Path

import pytest

from tests.unit.layer.layer_samples import archive, extension, patched, pax, raw, scan
from tiffin.builder.errors import CorruptError, ImageError, TiffinError
from tiffin.builder.layer.index import LayerIndex
from tiffin.builder.layer.tar import reader as tar_reader
from tiffin.builder.layer.tar import sparse as tar_sparse
from tiffin.builder.layer.tar.writer import END_OF_ARCHIVE
from tiffin.builder.layer.unpack import index_layer, unpack

pytestmark = pytest.mark.attack("T1", "T2", "T3", "T6", "T9", "T10", "T11")


def both(tmp_path: Path, tar: bytes) -> LayerIndex:
    """Index and unpack; they must agree."""
    index = index_layer(io.BytesIO(tar))
    (tmp_path / "tree").mkdir()
    assert unpack(io.BytesIO(tar), tmp_path / "tree").entries == index.entries
    return index


def refused(tmp_path: Path, tar: bytes) -> TiffinError:
    """Index and unpack must both refuse; nothing beside the tree may change."""
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "file").write_text("precious")
    tree = tmp_path / "tree"
    tree.mkdir()
    before = scan(canary)
    with pytest.raises((ImageError, CorruptError)) as caught:
        index_layer(io.BytesIO(tar))
    with pytest.raises(type(caught.value)):
        unpack(io.BytesIO(tar), tree)
    assert scan(canary) == before, "a hostile layer changed something outside"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["canary", "tree"], "a hostile layer made something"
    return caught.value


def tar(*members: bytes) -> bytes:
    return archive(*members).getvalue()


# -- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../canary/file", "..", "/..", "a/..", "a\0b/../c", "a\0b", "", ".wh.", "a/.wh..", ".wh...",
        "x" * 256,
     "/".join(["abcdefgh"] * 500)],
)  # fmt: skip
def test_hostile_names_are_refused(tmp_path: Path, name: str) -> None:
    member = raw("name", data=b"x", records=pax(path=name.encode())) if name else patched(raw("n"), 0, bytes(100))
    refused(tmp_path, tar(member))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, kind) for name in (".", "./", "/", "//", "./.") for kind in ("symlink", "char", "fifo", "hardlink")),
        *((name, "file") for name in (".", "./.", "/.")),  # with a slash at its end a file is a directory to old tars
    ],
)
def test_root_is_replaced_by_nothing(tmp_path: Path, name: str, kind: str) -> None:
    refused(tmp_path, tar(patched(raw(name, kind, link="x" if kind.endswith("link") else ""), 329, b"0000005\0")))


def test_root_directory_and_its_marker_are_left_out(tmp_path: Path) -> None:
    assert both(tmp_path, tar(raw("./", "dir"), raw(".wh..wh..opq"), raw("./a"))).entries[0].path == "a"


@pytest.mark.parametrize("name", ["/etc/x", "./etc/x", "etc//x", "etc/./x", "//etc///x"])
def test_odd_names_are_taken_as_paths_below_the_root(tmp_path: Path, name: str) -> None:
    assert [entry.path for entry in both(tmp_path, tar(raw(name))).entries] == ["etc", "etc/x"]
    assert (tmp_path / "tree/etc/x").is_file()


# -- links (T1, T2, T3) ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["/tmp/out", "../../canary", "/", ".."])
def test_entries_below_a_symlink_stay_in_the_root(tmp_path: Path, link: str) -> None:
    (tmp_path / "canary").mkdir()
    before = scan(tmp_path / "canary")
    both(tmp_path, tar(raw("a", "symlink", link=link), raw("a/x", data=b"evil"), raw("a/.wh.y")))
    assert scan(tmp_path / "canary") == before
    assert not Path("/tmp/out/x").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["canary", "tree"]


def test_entries_below_a_symlink_go_where_it_leads(tmp_path: Path) -> None:
    index = both(
        tmp_path, tar(raw("usr/bin/", "dir"), raw("bin", "symlink", link="usr/bin"), raw("bin/foo", data=b"1"))
    )
    assert [entry.path for entry in index.entries] == ["bin", "usr", "usr/bin", "usr/bin/foo"]
    assert (tmp_path / "tree/usr/bin/foo").read_bytes() == b"1"
    assert os.readlink(tmp_path / "tree/bin") == "usr/bin"


def test_entry_below_a_file_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, tar(raw("a", data=b"x"), raw("a/b")))


def test_loop_of_symlinks_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, tar(raw("a", "symlink", link="b"), raw("b", "symlink", link="a"), raw("a/x")))


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([raw("h", "hardlink", link="nowhere")], id="to nothing"),
        pytest.param([raw("h", "hardlink", link="later"), raw("later")], id="to what comes later"),
        pytest.param([raw("h", "hardlink", link="h")], id="to itself"),
        pytest.param([raw("d/", "dir"), raw("h", "hardlink", link="d")], id="to a directory"),
        pytest.param([raw("h", "hardlink", link="../canary/file")], id="out of the root"),
        pytest.param([raw("h", "hardlink", link="/etc/passwd")], id="to the host by an absolute name"),
        pytest.param([raw("h", "hardlink", link=".")], id="to the root"),
        pytest.param([raw("h", "hardlink")], id="to an empty name"),
        pytest.param([raw(".wh.w"), raw("h", "hardlink", link="w")], id="to a whiteout"),
        pytest.param(
            [raw("s", "symlink", link="/etc"), raw("h", "hardlink", link="s/passwd")], id="through a symlink out"
        ),
        pytest.param([raw("d/f"), raw("d", "hardlink", link="d/f")], id="in place of the directory it leads into"),
    ],
)
def test_hostile_hardlinks_are_refused(tmp_path: Path, members: list[bytes]) -> None:
    refused(tmp_path, tar(*members))


def test_hardlink_is_resolved_in_the_root_not_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "f").write_text("host")
    monkeypatch.chdir(work)
    refused_in = tmp_path / "case"
    refused_in.mkdir()
    refused(refused_in, tar(raw("h", "hardlink", link="f")))


@pytest.mark.parametrize("link", ["./d/f", "/d/f", "d//f", "d/./f", "d/f/"])
def test_hardlink_names_are_cleaned_as_those_of_entries(tmp_path: Path, link: str) -> None:
    both(tmp_path, tar(raw("./d/f", data=b"x"), raw("./h", "hardlink", link=link)))
    assert (tmp_path / "tree/h").samefile(tmp_path / "tree/d/f")


def test_hardlink_to_a_symlink_is_the_symlink(tmp_path: Path) -> None:
    target = tmp_path / "host"
    target.write_text("host")
    both(tmp_path, tar(raw("s", "symlink", link=str(target)), raw("h", "hardlink", link="s")))
    assert os.readlink(tmp_path / "tree/h") == str(target)
    assert target.stat().st_nlink == 1


def test_attributes_never_go_through_a_symlink(tmp_path: Path) -> None:
    target = tmp_path / "host"
    target.write_text("host")
    target.chmod(0o640)
    before = target.stat()
    both(
        tmp_path,
        tar(
            raw("s", "symlink", link=str(target), records=pax(SCHILY__xattr__user__x=b"1", mtime=b"5")),
            patched(raw("h", "hardlink", link="s"), 100, b"0006777\0"),
        ),
    )
    after = target.stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_uid) == (before.st_mode, before.st_mtime_ns, before.st_uid)
    assert os.listxattr(target) == []


# -- repeated and replaced names -------------------------------------------------------------------------------------


def test_last_of_equal_names_counts(tmp_path: Path) -> None:
    index = both(tmp_path, tar(raw("a", data=b"first"), raw("a", data=b"second!")))
    assert [(entry.path, entry.size) for entry in index.entries] == [("a", 7)]
    assert (tmp_path / "tree/a").read_bytes() == b"second!"


def test_directory_repeated_keeps_its_children(tmp_path: Path) -> None:
    index = both(tmp_path, tar(raw("d/", "dir"), raw("d/f"), patched(raw("d/", "dir"), 100, b"0000700\0")))
    assert [(entry.path, entry.mode) for entry in index.entries] == [("d", 0o700), ("d/f", 0o644)]
    assert (tmp_path / "tree/d").stat().st_mode & 0o777 == 0o700


def test_directory_replaced_by_file_and_back(tmp_path: Path) -> None:
    index = both(tmp_path, tar(raw("d/a/b", data=b"x"), raw("d", data=b"file"), raw("d/", "dir"), raw("d/c")))
    assert [entry.path for entry in index.entries] == ["d", "d/c"]


def test_file_lives_on_under_its_other_names(tmp_path: Path) -> None:
    members = [
        raw("f", data=b"old"),
        raw("g", "hardlink", link="f"),
        raw("h", "hardlink", link="g"),
        raw("f", data=b"new!"),
    ]
    index = both(tmp_path, tar(*members))
    assert [(entry.path, entry.kind, entry.link, entry.size) for entry in index.entries] == [
        ("f", "file", "", 4),
        ("g", "file", "", 3),
        ("h", "hardlink", "g", 0),
    ]
    assert (tmp_path / "tree/h").read_bytes() == b"old"
    assert (tmp_path / "tree/g").stat().st_nlink == 2


def test_file_lives_on_when_its_directory_is_replaced(tmp_path: Path) -> None:
    index = both(tmp_path, tar(raw("d/f", data=b"old"), raw("z", "hardlink", link="d/f"), raw("d", data=b"x")))
    assert [(entry.path, entry.kind, entry.size) for entry in index.entries] == [("d", "file", 1), ("z", "file", 3)]


# -- whiteouts -------------------------------------------------------------------------------------------------------


def test_whiteouts_are_read() -> None:
    index = index_layer(archive(raw("d/.wh.gone"), raw("o/.wh..wh..opq"), raw("d/.wh..wh.plnk/", "dir")))
    assert [(entry.path, entry.kind, entry.opaque) for entry in index.entries] == [
        ("d", "dir", False),
        ("d/gone", "whiteout", False),
        ("o", "dir", True),
    ]


@pytest.mark.parametrize(
    "members", [[raw(".wh.a"), raw("a/b")], [raw("a/b"), raw(".wh.a")], [raw(".wh.a"), raw("a/", "dir"), raw("a/b")]]
)
def test_whiteout_beside_a_directory_makes_it_opaque(members: list[bytes]) -> None:
    index = index_layer(archive(*members))
    assert [(entry.path, entry.kind, entry.opaque) for entry in index.entries] == [
        ("a", "dir", True),
        ("a/b", "file", False),
    ]


def test_device_0_0_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, tar(raw("null", "char")))


# -- attributes ------------------------------------------------------------------------------------------------------


def access_list(owner: int, group: int, other: int, mask: int | None = None, version: int = 2) -> bytes:
    entries = [(1, owner), (2, 7), (4, group), *([(0x10, mask)] if mask is not None else []), (0x20, other)]
    packed = [struct.pack("<HHI", tag, bits, 1000 if tag == 2 else 2**32 - 1) for tag, bits in entries]
    return struct.pack("<I", version) + b"".join(packed)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (access_list(7, 5, 0, mask=7), access_list(6, 5, 4, mask=4)),
        (access_list(7, 5, 0), access_list(6, 4, 4)),
        (access_list(6, 0, 4, mask=4), access_list(6, 0, 4, mask=4)),
        (access_list(7, 5, 0, version=1), None),
        (access_list(7, 5, 0)[:-1], None),
        (b"", None),
    ],
    ids=["mask", "group", "agrees", "version", "short", "empty"],
)
def test_access_lists_agree_with_the_mode_or_go(value: bytes, kept: bytes | None) -> None:
    records = pax(SCHILY__xattr__system__posix_acl_access=value)
    entry = index_layer(archive(raw("f", records=records))).entries[0]
    assert dict(entry.xattrs).get("system.posix_acl_access") == kept


def test_bookkeeping_attributes_are_dropped(tmp_path: Path) -> None:
    names = ["user.overlay.redirect", "user.overlay.opaque", "trusted.overlay.metacopy", "user.tiffin.device",
             "user.tiffin.owner", "security.selinux", "system.posix_acl_access", "user.kept"]  # fmt: skip
    records = pax(**{f"SCHILY__xattr__{name.replace('.', '__')}": b"y" for name in names})
    index = both(tmp_path, tar(raw("d/", "dir", records=records)))
    assert index.entries[0].xattrs == (("user.kept", b"y"),)
    assert not [name for name in os.listxattr(tmp_path / "tree/d") if name.startswith(("user.overlay", "user.tiffin"))]


def test_capability_loses_the_root_it_belongs_to() -> None:
    v3 = struct.pack("<6I", 0x03000001, 1 << 10, 0, 0, 0, 100000)
    index = index_layer(archive(raw("ping", records=pax(SCHILY__xattr__security__capability=v3))))
    assert index.entries[0].xattrs == (("security.capability", struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(b"1.5", 1_500_000_000), (b"-1.5", -1_500_000_000), (b"7", 7 * 10**9), (b"1.1234567899", 1_123_456_789)],
)
def test_pax_times(text: bytes, expected: int) -> None:
    assert index_layer(archive(raw("a", records=pax(mtime=text)))).entries[0].mtime_ns == expected


# -- damage and lies (T10, T11) --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "member",
    [
        pytest.param(patched(raw("a"), 124, b"\xff" * 12), id="negative size"),
        pytest.param(patched(raw("a"), 124, b"\x80" + b"\x7f" * 11), id="huge size"),
        pytest.param(patched(raw("a"), 124, b"-0000000001\0"), id="signed size"),
        pytest.param(patched(raw("a"), 124, b"12_34567\0\0\0\0"), id="size with underscore"),
        pytest.param(raw("a", records=pax(size=b"99999999999999999999")), id="huge size in PAX"),
        pytest.param(raw("a", records=pax(size=b"-1")), id="negative size in PAX"),
        pytest.param(patched(raw("a"), 136, b"\x80" + b"\x7f" * 11), id="time out of range"),
        pytest.param(raw("a", records=pax(mtime=b"1e9")), id="time with exponent"),
        pytest.param(raw("a", records=pax(mtime=b"9" * 19)), id="time without end"),
        pytest.param(raw("a", records=pax(uid=b"4294967295")), id="uid that means none"),
        pytest.param(raw("a", records=pax(uid=b"4294967296")), id="uid that wraps to root"),
        pytest.param(patched(raw("a", "char"), 329, b"\x80\xff\xff\xff\xff\xff\xff\xff"), id="huge device"),
        pytest.param(patched(raw("a"), 156, b"Z"), id="unknown type"),
        pytest.param(raw("a")[:148] + b"0000000\0" + raw("a")[156:], id="wrong checksum"),
        pytest.param(b"garbage " * 64, id="garbage"),
        pytest.param(extension(b"x", b"", size=2 << 20), id="PAX header too long"),
        pytest.param(extension(b"L", b"", size=1 << 40), id="name of a terabyte"),
        pytest.param(raw("a", records=b"30 path=x\n"), id="PAX record longer than its header"),
        pytest.param(raw("a", records=b"0 path=x\n"), id="PAX record of length 0"),
        pytest.param(raw("a", records=b"path=x\n"), id="PAX record without length"),
        pytest.param(raw("a", records=b"9 pathxx\n"), id="PAX record without value"),
        pytest.param(extension(b"x", pax(path=b"a")), id="PAX header of nothing"),
        pytest.param(raw("s", "symlink", link="x" * 100, records=pax(linkpath=b"y" * 5000)), id="symlink too long"),
        pytest.param(raw("s", "symlink", link="x", records=pax(linkpath=b"y\0z")), id="symlink with NUL"),
        pytest.param(raw("h") + raw("h", "hardlink", link="h"), id="hardlink to itself"),
        pytest.param(raw("h", "hardlink", link="."), id="hardlink to the root"),
        pytest.param(raw("a", records=b"%s=x\n" % (b"9" * 5000 + b" path")), id="PAX length of 5000 digits"),
        pytest.param(raw("a", records=pax(uid=b"0" * 5000)), id="PAX number of 5000 digits"),
    ],
)
def test_damaged_archives_are_refused(tmp_path: Path, member: bytes) -> None:
    refused(tmp_path, tar(member))


@pytest.mark.parametrize("size", [-512, tar_reader.MAX_FILE_BYTES + 1])
def test_sizes_beyond_any_file_are_refused_for_what_they_are(size: int) -> None:
    """CVE-2025-8194: a negative one leads back to what was read before."""
    member = (
        patched(raw("a"), 124, b"\x80" + bytes(3) + size.to_bytes(8, "big"))
        if size > 0
        else patched(raw("a"), 124, size.to_bytes(12, "big", signed=True))
    )
    with pytest.raises(CorruptError, match=f"claims {size} bytes"):
        index_layer(archive(member))


def test_a_mode_is_permissions_alone() -> None:
    assert index_layer(archive(patched(raw("a"), 100, b"7777777\0"))).entries[0].mode == 0o7777


def test_attributes_without_a_name_are_dropped(tmp_path: Path) -> None:
    records = pax(**{"SCHILY__xattr__": b"y", "SCHILY__xattr__user__a\0b": b"y", "SCHILY__xattr__user__kept": b"y"})
    assert both(tmp_path, tar(raw("d/", "dir", records=records))).entries[0].xattrs == (("user.kept", b"y"),)


def test_truncation_anywhere_is_an_error_or_a_shorter_whole() -> None:
    whole = tar(raw("a", data=b"x" * 700, records=pax(mtime=b"1.5")), raw("b"))
    for length in range(0, len(whole) - len(END_OF_ARCHIVE), 100):
        try:
            index = index_layer(io.BytesIO(whole[:length]))
        except CorruptError:
            continue
        assert length % 512 == 0 and len(index.entries) < 2


def test_headers_without_end_are_refused() -> None:
    with pytest.raises(CorruptError, match="headers without end"):
        index_layer(archive(*[extension(b"x", pax(comment=b"c" * 900_000))] * 4, raw("a")))
    unlike = [extension(b"g", pax(**{f"k{number}": b"c" * 300_000})) for number in range(5)]
    with pytest.raises(CorruptError, match="headers without end"):
        index_layer(archive(*unlike, raw("a")))


def test_entries_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_reader, "MAX_ENTRIES", 10)
    with pytest.raises(ImageError, match="more than 10 entries"):
        index_layer(archive(*[raw("a")] * 11))


def sparse_map(*numbers: int) -> bytes:
    return b",".join(b"%d" % number for number in numbers)


@pytest.mark.parametrize(
    "records",
    [
        pax(GNU__sparse__map=sparse_map(0, 512), GNU__sparse__size=b"9223372036854775807"),
        pax(GNU__sparse__map=sparse_map(0, 512), GNU__sparse__size=b"%d" % (1 << 37)),
        pax(GNU__sparse__map=sparse_map(0, 600), GNU__sparse__size=b"1000"),
        pax(GNU__sparse__map=sparse_map(300, 100, 0, 412), GNU__sparse__size=b"1000"),
        pax(GNU__sparse__map=sparse_map(0, 256, 128, 256), GNU__sparse__size=b"1000"),
        pax(GNU__sparse__map=sparse_map(0), GNU__sparse__size=b"1000"),
        pax(GNU__sparse__map=b"0,-1,x", GNU__sparse__size=b"1000"),
        pax(GNU__sparse__major=b"1", GNU__sparse__minor=b"0", GNU__sparse__realsize=b"1000"),
    ],
    ids=["8 EiB", "128 GiB of holes", "more than stored", "unsorted", "overlap", "odd", "no numbers", "no map"],
)
def test_sparse_bombs_are_refused(tmp_path: Path, records: bytes) -> None:
    refused(tmp_path, tar(raw("a", data=b"x" * 512, records=records)))


@pytest.mark.parametrize("form", ["count", "map", "extended"])
def test_sparse_files_of_too_many_parts(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr(tar_sparse, "MAX_PARTS", 100)
    monkeypatch.setattr(tar_sparse, "MAX_MAP_BYTES", 4400)
    records = pax(GNU__sparse__major=b"1", GNU__sparse__minor=b"0", GNU__sparse__realsize=b"1000")
    if form == "count":
        member = raw("a", data=b"101\n" + b"0\n" * 508, records=records)
    elif form == "map":
        member = raw("a", data=b"9" * 5120, records=records)
    else:
        header = patched(patched(raw("a"), 156, b"S"), 482, b"\1")
        member = (
            header
            + (b"00000000000\0" * 42)[:504]
            + (b"\1" + bytes(7))
            + ((b"00000000001\0" * 42)[:504] + b"\1" + bytes(7)) * 12
        )
    with pytest.raises(CorruptError, match="too many parts"):
        index_layer(archive(member))


def test_sparse_parts_beyond_the_file_are_refused() -> None:
    records = pax(GNU__sparse__map=sparse_map(1000, 512), GNU__sparse__size=b"1000")
    with pytest.raises(CorruptError, match="malformed sparse"):
        index_layer(archive(raw("a", data=b"x" * 512, records=records)))


def test_directory_with_links_is_replaced(tmp_path: Path) -> None:
    """What a link in it leads to is neither entered nor removed."""
    (tmp_path / "out").mkdir()
    members = (
        raw("d/", "dir"),
        raw("d/l", "symlink", link=str(tmp_path / "out")),
        raw("d/e/", "dir"),
        raw("d/e/l", "symlink", link="/"),
    )
    assert [entry.kind for entry in both(tmp_path, tar(*members, raw("d", data=b"x"))).entries] == ["file"]
    assert (tmp_path / "out").is_dir()


def test_sparse_map_without_end_is_refused(tmp_path: Path) -> None:
    records = pax(GNU__sparse__major=b"1", GNU__sparse__minor=b"0", GNU__sparse__realsize=b"1000")
    refused(tmp_path, tar(raw("a", data=b"9" * 2048, records=records)))


@pytest.mark.thorough
@pytest.mark.heavy
def test_many_links_and_replacements_take_linear_time() -> None:
    count = 8_000  # what is quadratic takes 20 seconds and more for so many
    members = [raw("f", data=b"x"), *(raw(f"l{number}", "hardlink", link="f") for number in range(count))]
    members += [raw(name) for name in ["f", *(f"l{number}" for number in range(count))]]
    members += [raw("d/", "dir"), raw("d/x"), raw("d")] * (count // 4)
    start = time.process_time()  # other work on the machine does not count
    assert len(index_layer(archive(*members)).entries) == count + 2
    assert time.process_time() - start < 8, "a hostile layer takes too long"


# -- other writers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_python_tarfile_are_read(form: int) -> None:
    sink = io.BytesIO()
    long_name = "/".join(["n" * 60] * (2 if form == tarfile.USTAR_FORMAT else 5))
    with tarfile.open(fileobj=sink, mode="w", format=form) as writer:
        for name in ("plain", long_name):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uid = 4, 7, 70000
            writer.addfile(info, io.BytesIO(b"data"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "t" * (100 if form == tarfile.USTAR_FORMAT else 200)
        writer.addfile(link)
    sink.seek(0)
    found = {entry.path: entry for entry in index_layer(sink).entries}
    assert (found[long_name].size, found[long_name].uid, found["plain"].mtime_ns) == (4, 70000, 7 * 10**9)
    assert found["link"].link == link.linkname


def test_global_headers_speak_of_all_that_follow() -> None:
    shared = extension(b"g", pax(uid=b"5", comment=b"c"))
    index = index_layer(archive(shared, raw("a"), raw("b", records=pax(uid=b"6")), raw("c", records=pax(uid=b""))))
    assert [entry.uid for entry in index.entries] == [5, 6, 0]


def test_entries_of_no_layer_still_verify_the_whole_stream() -> None:
    stream = archive(raw("a"))
    stream = io.BytesIO(stream.getvalue() + b"trailing" * 1000)
    index_layer(stream)
    assert stream.read() == b"", "bytes after the archive were not read, so not verified either"
