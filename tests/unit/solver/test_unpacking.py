"""ADD's unpacking in tables: members meet a tree of the image, links, hard links, archives before."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.tar_members import TIME, Members, archive, data
from tiffin.builder.errors import ImageError
from tiffin.builder.layer.change import Change
from tiffin.builder.layer.index import Entry, LayerIndex, new_entry
from tiffin.builder.sources.changed_tree import ChangedTree
from tiffin.builder.sources.trees import LayerTree
from tiffin.builder.sources.unpacking import Unpacker, UnpackStyle

NOW_NS = 5
DIRECTORY: Mapping[str, object] = {"type": tarfile.DIRTYPE}


def symlink(target: str) -> Mapping[str, object]:
    return {"type": tarfile.SYMTYPE, "linkname": target}


def hardlink(target: str, **fields: object) -> Mapping[str, object]:
    return {"type": tarfile.LNKTYPE, "linkname": target, **fields}


def below() -> LayerTree:
    """/t with a directory, a link to it, one that leads out, and a file of two names; /s hands its group on."""
    entries = [
        new_entry("s", "dir", 0o2775)._replace(uid=33, gid=44),
        new_entry("t", "dir", 0o1777, mtime_ns=7),
        new_entry("t/away", "symlink", 0o777)._replace(link="../s"),
        new_entry("t/existing", "file", 0o644)._replace(size=1),
        new_entry("t/lnk", "symlink", 0o777)._replace(link="real"),
        new_entry("t/other", "hardlink", 0o644)._replace(link="t/existing"),
        new_entry("t/real", "dir", 0o700)._replace(uid=9, gid=9, xattrs=(("user.kept", b"k"),)),
        new_entry("t/real/old", "file", 0o600),
        new_entry("t/root", "symlink", 0o777)._replace(link="/real"),
    ]
    return LayerTree([LayerIndex(entries)], lambda *_: io.BytesIO(b"E"))


def unpacked(
    tmp_path: Path, *archives: Members, dest: str = "t", owner: tuple[int, int] | None = None
) -> dict[str, Change]:
    tree = ChangedTree(below(), now_ns=NOW_NS)
    for number, members in enumerate(archives):
        tar = tmp_path / f"{number}.tar"
        tar.write_bytes(archive(members))
        Unpacker(tree, dest, UnpackStyle(owner=owner, time_ns=None)).unpack(tar)
    return {change.entry.path: change for change in tree.changes()}


def shown(changes: Mapping[str, Change]) -> dict[str, str]:
    """By path its kind, and where links lead."""
    entries = {path: change.entry for path, change in changes.items()}
    return {path: " ".join(filter(None, (entry.kind, entry.link))) for path, entry in entries.items()}


CASES: Mapping[str, tuple[Sequence[Members], Mapping[str, str]]] = {
    "a link of the archive itself": (
        [[("d", DIRECTORY), ("l", symlink("d")), ("l/f", data(b"1"))]],
        {"t": "dir", "t/d": "dir", "t/d/f": "file", "t/l": "symlink d"},
    ),
    "a link of the archive before": (
        [[("dir", DIRECTORY), ("lk", symlink("dir"))], [("lk/g", data(b"2"))]],
        {"t": "dir", "t/dir": "dir", "t/dir/g": "file", "t/lk": "symlink dir"},
    ),
    "a link of the image": ([[("lnk/f", data(b"1"))]], {"t": "dir", "t/real": "dir", "t/real/f": "file"}),
    "an absolute link, from the destination": (
        [[("root/f", data(b"1"))]],
        {"t": "dir", "t/real": "dir", "t/real/f": "file"},
    ),
    "a link to nothing": (
        [[("l", symlink("gone/deep")), ("l/f", data(b"1"))]],
        {"t": "dir", "t/gone": "dir", "t/gone/deep": "dir", "t/gone/deep/f": "file", "t/l": "symlink gone/deep"},
    ),
    "a hard link through a link of the image": (
        [[("lnk/a", data(b"A")), ("lnk/b", hardlink("lnk/a"))]],
        {"t": "dir", "t/real": "dir", "t/real/a": "file", "t/real/b": "hardlink t/real/a"},
    ),
    "a hard link to a file of the image": (
        [[("b", hardlink("existing"))]],
        {"t": "dir", "t/b": "file", "t/existing": "hardlink t/b"},
    ),
    "a hard link to a symbolic link": (
        [[("b", hardlink("lnk"))]],
        {"t": "dir", "t/b": "symlink real", "t/lnk": "hardlink t/b"},
    ),
    "a hard link to the archive before": (
        [[("x", data(b"x"))], [("y", hardlink("x"))]],
        {"t": "dir", "t/x": "file", "t/y": "hardlink t/x"},
    ),
    "a name of two that is replaced": (
        [[("x", data(b"x")), ("y", hardlink("x")), ("x", data(b"z"))]],
        {"t": "dir", "t/x": "file", "t/y": "file"},
    ),
    "a directory that becomes a link": (
        [[("p", DIRECTORY), ("p/x", data(b"x")), ("p", symlink("q")), ("q", DIRECTORY), ("q/y", data(b"y"))]],
        {"t": "dir", "t/p": "symlink q", "t/q": "dir", "t/q/y": "file"},
    ),
    "a directory of the image that becomes a file": ([[("real", data(b"f"))]], {"t": "dir", "t/real": "file"}),
    "a directory of the image that was a file meanwhile": (
        [[("real", data(b"f")), ("real", DIRECTORY), ("real/n", data(b"n"))]],
        {"t": "dir", "t/real": "dir", "t/real/n": "file"},
    ),
    "a directory that takes the place of a link": (
        [[("lnk", DIRECTORY), ("lnk/f", data(b"f"))]],
        {"t": "dir", "t/lnk": "dir", "t/lnk/f": "file"},
    ),
    "a link that leads out and is not followed": (
        [[("up", symlink("../../etc")), ("ok", data(b"o"))]],
        {"t": "dir", "t/ok": "file", "t/up": "symlink ../../etc"},
    ),
    "a file that takes the place of a link, not of where it leads": (
        [[("lnk", data(b"f"))]],
        {"t": "dir", "t/lnk": "file"},
    ),
    "names that begin with ./ and /": (
        [[("./", DIRECTORY), ("./a", data(b"a")), ("/b", data(b"b"))]],
        {"t": "dir", "t/a": "file", "t/b": "file"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_members_meet_what_is_there(tmp_path: Path, name: str) -> None:
    archives, expected = CASES[name]
    assert shown(unpacked(tmp_path, *archives)) == expected


def test_what_was_below_a_replaced_directory_is_gone(tmp_path: Path) -> None:
    changes = unpacked(tmp_path, [("real", data(b"f")), ("real", DIRECTORY)])
    assert changes["t/real"].entry.opaque and changes["t/real"].entry.mode == 0o755
    assert not unpacked(tmp_path, [("real", DIRECTORY)])["t/real"].entry.opaque


def look(entry: Entry) -> tuple[int, tuple[int, int], int]:
    return entry.mode, (entry.uid, entry.gid), entry.mtime_ns


@pytest.mark.parametrize("owner", [None, (33, 33)], ids=["plain", "chown"])
def test_implied_directories_keep_their_look_and_new_ones_are_plain(
    tmp_path: Path, owner: tuple[int, int] | None
) -> None:
    changes = unpacked(tmp_path, [("real/f", data(b"1")), ("new/er/f", data(b"1"))], owner=owner)
    assert look(changes["t"].entry) == (0o1777, (0, 0), 7)
    assert look(changes["t/real"].entry) == (0o700, (9, 9), 0)
    assert look(changes["t/new/er"].entry) == (0o755, (0, 0), NOW_NS)
    assert changes["t/new/er/f"].entry.uid == (owner or (0, 0))[0]


def test_told_directories_take_the_members_look_but_keep_attributes(tmp_path: Path) -> None:
    entry = unpacked(tmp_path, [("real", {**DIRECTORY, "uid": 5, "mode": 0o2711})])["t/real"].entry
    assert look(entry) == (0o2711, (5, 0), TIME * 10**9)
    assert entry.xattrs == (("user.kept", b"k"),)


def test_the_root_of_an_archive_says_nothing_of_the_destination(tmp_path: Path) -> None:
    changes = unpacked(tmp_path, [("./", {**DIRECTORY, "mode": 0o700, "uid": 5}), ("f", data(b"1"))])
    assert look(changes["t"].entry) == (0o1777, (0, 0), 7)


@pytest.mark.parametrize("mode", [0o1777, 0o2775, 0o3770, 0o755])
def test_bits_of_directories_are_kept(tmp_path: Path, mode: int) -> None:
    assert unpacked(tmp_path, [("d", {**DIRECTORY, "mode": mode})])["t/d"].entry.mode == mode


def test_new_directories_take_the_group_of_one_with_the_bit(tmp_path: Path) -> None:
    changes = unpacked(tmp_path, [("n/m/f", data(b"1"))], dest="s")
    assert look(changes["s/n"].entry) == (0o755, (0, 44), NOW_NS)  # without the bit, so its own are root's
    assert look(changes["s/n/m"].entry) == (0o755, (0, 0), NOW_NS)


def test_a_hardlink_gives_its_attributes_to_every_name(tmp_path: Path) -> None:
    changes = unpacked(tmp_path, [("b", hardlink("existing", uid=33, gid=44, mode=0o600))])
    assert look(changes["t/b"].entry) == (0o600, (33, 44), TIME * 10**9)
    assert "t/other" not in changes
    with changes["t/b"].open() as stream:  # type: ignore[misc]
        assert stream.read() == b"E"


def test_a_hardlink_to_a_symbolic_link_gives_its_owner_alone(tmp_path: Path) -> None:
    changes = unpacked(tmp_path, [("b", hardlink("lnk", uid=33, gid=44, mode=0o600))])
    assert look(changes["t/b"].entry) == (0o777, (33, 44), 0)


def test_the_time_of_a_directory_goes_to_what_took_its_place(tmp_path: Path) -> None:
    members = [("d", DIRECTORY), ("x", data(b"x", mtime=5)), ("d", symlink("x")), ("e", DIRECTORY), ("e", symlink("/"))]
    assert unpacked(tmp_path, members)["t/x"].entry.mtime_ns == TIME * 10**9


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([(".wh.keep", data(b""))], 'no layer can hold ".wh.keep"'),
        ([("d/.wh..wh..opq", data(b""))], "mean deletions there"),
        ([("existing/x", data(b""))], '"/t/existing" is not a directory'),
        ([("b", hardlink("nothing"))], "which is not a file"),
        ([("b", hardlink("real"))], "which is not a file"),
        ([("existing", hardlink("lnk/../existing"))], "named|which is not a file"),
        ([("away/x", data(b""))], "leads out of the destination by a symbolic link"),
        ([("a", symlink("b")), ("b", symlink("a")), ("a/x", data(b""))], "too many levels"),
    ],
)
def test_what_cannot_be_unpacked_is_refused(tmp_path: Path, members: Members, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        unpacked(tmp_path, members)
