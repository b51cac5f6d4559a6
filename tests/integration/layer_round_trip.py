"""Run by test_layer_namespaces.py as root of some namespace: a step over a real overlay mount, and back from its layer.

Prints "ok" when the file system a program sees is the same before and after pack and unpack.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from tiffin.builder.layer.below import TablesBelow, TreesBelow
from tiffin.builder.layer.change import Change
from tiffin.builder.layer.disk.diff import diff_upper
from tiffin.builder.layer.disk.settle import settle
from tiffin.builder.layer.index import LayerIndex, MergedTree, new_entry
from tiffin.builder.layer.pack import pack
from tiffin.builder.layer.unchanged import layer_time, reduced
from tiffin.builder.layer.unpack import unpack

CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)  # cap_net_raw+ep as a layer has it
NOW = 1_700_000_000_123_456_789


def make(path: str, kind: str, data: bytes = b"", mode: int = 0o755, **fields: object) -> Change:
    entry = new_entry(path, kind, mode, mtime_ns=NOW)._replace(size=len(data), **fields)  # type: ignore[arg-type]
    return Change(entry, (lambda: io.BytesIO(data)) if data else None)


BASE = [
    make("dev", "dir"),
    make("dev/null", "char", mode=0o666, major=1, minor=3),
    make("dev/sda", "block", mode=0o660, major=8, minor=0),
    make("etc", "dir"),
    make("etc/gone", "file", b"1"),
    make("etc/kept", "file", b"2", 0o640),
    make("etc/one", "file", b"3"),
    make("etc/two", "hardlink", link="etc/one"),
    make("lib", "dir"),
    make("lib/again", "dir"),
    make("lib/again/1", "file", b"one" * 1000),
    make("lib/again/2", "file", b"two" * 1000),
    make("lib/again/dir", "dir"),
    make("lib/again/dir/3", "file", b"three"),
    make("lib/link", "symlink", mode=0o777, link="so"),
    make("lib/so", "file", b"same"),
    make("lib/sneaky", "file", b"before"),
    make("opt", "dir"),
    make("opt/old", "dir"),
    make("opt/old/file", "file", b"4"),
    make("srv", "dir"),
    make("srv/d", "dir"),
    make("srv/d/x", "file", b"5"),
    make("srv/f", "file", b"6"),
    make("tmp", "dir", mode=0o1777),
    make("usr", "dir"),
    make("usr/ping", "file", b"binary", 0o755, xattrs=(("security.capability", CAPABILITY),)),
    make("var", "dir", mode=0o2775),
    make("var/private", "file", b"7", 0),
]
OWNED = [
    make("var/mail", "dir", mode=0o2775, gid=8),
    make("var/mail/root", "file", b"8", 0o660, gid=8),
    make("www", "dir", mode=0o700, uid=33, gid=33),
    make("www/index", "file", b"9", 0o4755, uid=33, gid=33),
]


def view(root: Path) -> dict[str, tuple[object, ...]]:
    """All a program can see of a tree; names of one inode are grouped."""
    result: dict[str, tuple[object, ...]] = {}
    first: dict[int, str] = {}
    for folder, names, files in os.walk(os.fsencode(root)):
        for name in sorted([*names, *files]):
            path = os.path.join(folder, name)
            st = os.lstat(path)
            if stat.S_ISSOCK(st.st_mode) and not os.listxattr(path):  # one that has some stands for a device node
                continue
            relative = os.path.relpath(path, os.fsencode(root)).decode("utf-8", "surrogateescape")
            content = (
                hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest() if stat.S_ISREG(st.st_mode) else ""
            )
            link = os.readlink(path) if stat.S_ISLNK(st.st_mode) else b""
            known = os.listxattr(path, follow_symlinks=False) if not stat.S_ISLNK(st.st_mode) else []
            attributes = [(key, os.getxattr(path, key)) for key in sorted(known) if not key.startswith("user.overlay")]
            group = "" if stat.S_ISDIR(st.st_mode) else first.setdefault(st.st_ino, relative)
            result[relative] = (st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns, content, link, attributes, group)
    return result


def change(root: Path, *, many_ids: bool) -> None:
    """What a RUN might do."""
    for name in ("lib", "lib/so", "lib/again/2"):  # copied up, and as before
        mode = stat.S_IMODE((root / name).stat().st_mode)
        (root / name).chmod(0o700)
        (root / name).chmod(mode)
    os.lchown(root / "lib/link", 0, 0)
    st = (root / "lib/sneaky").stat()
    (root / "lib/sneaky").write_bytes(b"after!")
    os.utime(root / "lib/sneaky", ns=(st.st_atime_ns, st.st_mtime_ns))
    subprocess.run(["cp", "-a", root / "lib/again", root / "tmp/again"], check=True)
    shutil.rmtree(root / "lib/again")
    subprocess.run(["cp", "-a", root / "tmp/again", root / "lib/again"], check=True)
    shutil.rmtree(root / "tmp/again")
    (root / "lib/again/dir/3").unlink()
    (root / "etc/gone").unlink()
    shutil.rmtree(root / "opt/old")
    (root / "opt/old").mkdir()
    (root / "opt/old/new").write_text("new")
    shutil.rmtree(root / "srv/d")
    (root / "srv/d").write_text("now a file")
    (root / "srv/f").unlink()
    (root / "srv/f").mkdir()
    (root / "usr/ping").chmod(0o4711)  # copied up with its capability? chmod keeps it
    (root / "usr/new").write_text("binary")
    os.setxattr(root / "usr/new", "security.capability", CAPABILITY)
    os.link(root / "etc/kept", root / "etc/linked")
    (root / "etc/a").write_text("pair")
    os.link(root / "etc/a", root / "etc/b")
    os.mkfifo(root / "tmp/fifo", 0o600)
    os.symlink("a", root / "etc/s")
    os.utime(root / "etc/s", ns=(1, 5_000_000_001), follow_symlinks=False)
    server = socket.socket(socket.AF_UNIX)
    server.bind(os.path.relpath(root / "tmp/sock"))
    server.close()
    with (root / "var/sparse").open("wb") as stream:
        stream.seek(10 << 20)
        stream.write(b"end")
    os.setxattr(root / "var/sparse", "user.note", b"\0binary=\n")
    open(os.path.join(os.fsencode(root), b"etc/\xff\xfe"), "wb").close()
    (root / "var/private").chmod(0o400)
    (root / "var/private").write_text("changed")
    (root / "var/private").chmod(0)
    if many_ids:
        os.chown(root / "etc/b", 1000, 1000)
        os.lchown(root / "etc/s", 12, 12)
        shutil.rmtree(root / "www")


def mount(target: Path, lowers: list[Path], upper: tuple[Path, Path] | None = None) -> None:
    target.mkdir()
    options = f"userxattr,lowerdir={':'.join(map(str, lowers))}"
    if upper is not None:
        options += f",upperdir={upper[0]},workdir={upper[1]}"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", str(target)], check=True)


def mounted_view(target: Path, lowers: list[Path]) -> dict[str, tuple[object, ...]]:
    mount(target, lowers)
    try:
        return view(target)
    finally:
        subprocess.run(["umount", str(target)], check=True)


def packed(changes: list[Change]) -> tuple[bytes, LayerIndex]:
    sink = io.BytesIO()
    index = pack(changes, sink)
    return sink.getvalue(), index


def layer(path: Path, tar: bytes) -> LayerIndex:
    path.mkdir()
    return unpack(io.BytesIO(tar), path)


def in_layer(seen: tuple[object, ...] | None) -> tuple[object, ...] | None:
    """With the time that a layer has."""
    if seen is None:
        return None
    assert isinstance(seen[3], int)
    return (*seen[:3], layer_time(seen[3], None), *seen[4:])


def check_dropped(left: set[str]) -> None:
    """What was copied up or made again and is as it was is in no layer; what changed is, whatever its time says."""
    assert not left & {"lib/so", "lib/link", "lib/again/1", "lib/again/2"}, left
    assert {"lib/sneaky", "lib/again/dir/3"} <= left, left


def main(area: Path, *, many_ids: bool) -> None:
    base_tar, base_index = packed([*BASE, *OWNED])  # owners without a map are kept beside the inode
    lower, upper, work = area / "lower", area / "upper", area / "work"
    assert layer(lower, base_tar).entries == base_index.entries
    assert packed(diff_upper(lower))[0] == base_tar, "the base came back as another layer"
    upper.mkdir()
    work.mkdir()
    mount(area / "step", [lower], (upper, work))
    change(area / "step", many_ids=many_ids)
    subprocess.run(["umount", str(area / "step")], check=True)
    # a fresh mount, as inode numbers of linked files are only true then
    seen = mounted_view(area / "seen", [upper, lower])

    changes = diff_upper(upper)
    left = reduced(changes, TreesBelow([lower]))
    reported = reduced(changes, TablesBelow([base_index]))
    assert packed(left.changes)[0] == packed(reported.changes)[0], "tree and table tell otherwise what did not change"
    settle(upper, left)
    check_dropped({change.entry.path for change in left.changes})
    tar, index = packed(diff_upper(upper))
    assert tar == packed(left.changes)[0], "the tree that the step left is not its layer"
    assert layer(area / "layer", tar).entries == index.entries
    assert packed(diff_upper(area / "layer"))[0] == tar, "the layer came back as another"
    again = mounted_view(area / "again", [area / "layer", lower])
    for path in sorted(seen.keys() | again.keys()):
        assert in_layer(seen.get(path)) == in_layer(again.get(path)), (path, seen.get(path), again.get(path))
    merged = [item.entry.path for item in MergedTree([base_index, index]).walk()]
    assert sorted(merged) == sorted(seen), "the tables see another file system than the kernel"
    found = {entry.path: entry for entry in index.entries}
    assert found["usr/new"].xattrs == (("security.capability", CAPABILITY),), found["usr/new"]
    assert found["etc/gone"].kind == "whiteout"
    assert found["opt/old"].opaque
    assert "tmp/sock" not in found
    assert os.stat(area / "layer/var/sparse").st_blocks < 2048, "the hole was filled"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="tiffin-layer-") as temporary:
        os.chdir(temporary)
        main(Path(temporary), many_ids=sys.argv[1] == "many")
    sys.stdout.write("ok\n")
