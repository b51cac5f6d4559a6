"""A tree that somebody else's tar was unpacked to is compared with its table: as it came nothing differs, then each
change is told.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.as_root import as_root
from tiffin.builder.layer.compare import first_change
from tiffin.builder.layer.disk.diff import diff_upper
from tiffin.builder.layer.index import LayerIndex
from tiffin.builder.layer.pack import pack_layer
from tiffin.builder.layer.unpack import unpack

LONG = "long/" + "n" * 120 + "/" + "m" * 200
Member = tuple[str, bytes, dict[str, object]]


def tar_of(members: list[Member], form: int) -> io.BytesIO:
    """A tar as Python writes it: no order, nobody's times, no parents but those given."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, data, fields in members:
            info = tarfile.TarInfo(name)
            info.size, info.uid, info.gid, info.mtime = len(data), os.getuid(), os.getgid(), 1_234_567_890
            for key, value in fields.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    stream.seek(0)
    return stream


SHAPES: dict[str, list[Member]] = {
    "no order": [("z", b"1", {}), ("a/b/c", b"2", {"mode": 0o4755}),
        ("a/b", b"", {"type": tarfile.DIRTYPE, "mode": 0o2750})],
    "hard links backwards": [("b", b"12", {}), ("a", b"", {"type": tarfile.LNKTYPE, "linkname": "b"}),
        ("c", b"", {"type": tarfile.LNKTYPE, "linkname": "./a"})],
    "one name twice": [("a", b"1", {}), ("d/x", b"2", {}), ("a", b"333", {"mode": 0o600}),
        ("d", b"", {"type": tarfile.SYMTYPE, "linkname": "a"})],
    "through a link": [("usr/bin", b"", {"type": tarfile.DIRTYPE, "mode": 0o755}),
        ("bin", b"", {"type": tarfile.SYMTYPE, "linkname": "usr/bin", "mode": 0o755}), ("bin/x", b"1", {})],
    "fractions": [("a", b"1", {"mtime": 1.25}), ("b", b"1", {"mtime": -3}), ("c", b"", {"mtime": 0, "mode": 0})],
    "long names": [(LONG, b"1", {}), ("l", b"", {"type": tarfile.SYMTYPE, "linkname": "t" * 300}),
        (LONG + "2", b"", {"type": tarfile.LNKTYPE, "linkname": LONG})],
    "dots": [("./", b"", {"type": tarfile.DIRTYPE}), ("./a", b"1", {}), ("./b/c", b"2", {})],
    "pipes": [("p", b"", {"type": tarfile.FIFOTYPE, "mode": 0o620})],
}  # fmt: skip
FORMS = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT, "ustar": tarfile.USTAR_FORMAT}


def seen(tree: Path) -> LayerIndex:
    return pack_layer(diff_upper(tree), blobs=None, compression=None).index


def unpacked(members: list[Member], tree: Path, form: str = "pax") -> LayerIndex:
    tree.mkdir()
    return unpack(tar_of(members, FORMS[form]), tree)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("form", FORMS)
def test_as_it_came(tmp_path: Path, shape: str, form: str) -> None:
    members = SHAPES[shape]
    if form == "ustar" and shape == "long names":
        members = [("u" * 90 + "/" + "n" * 90, b"1", {})]  # all it can
    if form == "ustar" and shape == "fractions":
        members = [("a", b"1", {"mtime": 0})]

    def compare() -> None:
        table = unpacked(members, tmp_path / "tree", form)
        assert first_change(table, seen(tmp_path / "tree")) == ""
        assert first_change(LayerIndex.decode(table.encode()), seen(tmp_path / "tree")) == ""

    as_root(compare)  # whose are parents that no tar has


def _rewrite(path: Path, data: bytes) -> None:
    times = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(times.st_mtime_ns, times.st_mtime_ns))


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (lambda tree: (tree / "d/b").unlink(), '"d/b" is gone'),
    "new": (lambda tree: (tree / "d/new").write_text(""), '"d" has another time'),
    "content": (lambda tree: _rewrite(tree / "a", b"X"), '"a" has another content'),
    "length": (lambda tree: _rewrite(tree / "a", b"11"), '"a" has another content'),
    "mode": (lambda tree: (tree / "a").chmod(0o600), '"a" has another mode'),
    "time": (lambda tree: os.utime(tree / "d", (1, 1)), '"d" has another time'),
    "type": (lambda tree: _replace(tree / "a", lambda path: path.mkdir()), '"a" has another type'),
    "target": (lambda tree: _replace(tree / "l", lambda path: path.symlink_to("b")), '"l" has another target'),
    "link cut": (lambda tree: _replace(tree / "h", lambda path: shutil.copy2(tree / "a", path)),
        '"h" has another type'),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed(tmp_path: Path, change: str) -> None:
    members: list[Member] = [
        ("a", b"1", {}), ("h", b"", {"type": tarfile.LNKTYPE, "linkname": "a"}), ("d/b", b"2", {}),
        ("d", b"", {"type": tarfile.DIRTYPE, "mode": 0o755}), ("l", b"", {"type": tarfile.SYMTYPE, "linkname": "a"}),
    ]  # fmt: skip
    tree = tmp_path / "tree"
    table = unpacked(members, tree)
    act, expected = CHANGES[change]
    act(tree)
    found = first_change(table, seen(tree))
    assert expected in found or (change == "gone" and '"d" has another time' in found)
