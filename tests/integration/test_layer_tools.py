"""Layers between tiffin and the tools that read and write them elsewhere: GNU tar, umoci, skopeo."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tiffin.builder.layer.change import Change
from tiffin.builder.layer.disk.diff import diff_upper
from tiffin.builder.layer.index import new_entry
from tiffin.builder.layer.pack import pack
from tiffin.builder.layer.unpack import index_layer, unpack

CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
IS_ROOT = os.geteuid() == 0
NOW = 1_700_000_000_123_456_789
LONG = "l" * 120


def make(path: str, kind: str, data: bytes = b"", mode: int = 0o755, **fields: object) -> Change:
    entry = new_entry(path, kind, mode, mtime_ns=NOW)._replace(size=len(data), **fields)  # type: ignore[arg-type]
    return Change(entry, (lambda: io.BytesIO(data)) if data else None)


LAYER = [
    make("a", "dir", mode=0o1777),
    make("a-b", "file", b"between", 0o4755),
    make("a/b", "file", b"inside", 0o640),
    make("a/c", "hardlink", link="a/b"),
    make("a/s", "symlink", link="../" + LONG),
    make("caf\u00e9", "file", b"utf-8"),
    make("raw\udcff", "file", b"not utf-8"),
    make(LONG, "dir"),
    make(f"{LONG}/{LONG}", "file", b"long"),
    make("sparse", "file", b"head" + bytes(1 << 20) + b"tail"),
    make("fifo", "fifo", mode=0o600),
]
ROOTS = [
    make("owned", "file", b"x", 0o2711, uid=1000, gid=3_000_000),
    make("null", "char", mode=0o666, major=1, minor=3),
    make("ping", "file", b"x", xattrs=(("security.capability", CAPABILITY), ("user.note", b"\0=\n"))),
]


def needs(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


def tar_of(changes: Sequence[Change]) -> bytes:
    sink = io.BytesIO()
    pack(changes, sink)
    return sink.getvalue()


def run(*argv: object, **options: object) -> str:
    done = subprocess.run([os.fspath(arg) if isinstance(arg, Path) else str(arg) for arg in argv],
                          capture_output=True, timeout=60, **options)  # type: ignore[call-overload]  # fmt: skip
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return str(done.stdout.decode("utf-8", "surrogateescape"))


def check_tree(tree: Path, changes: Sequence[Change], *, exact_times: bool = True) -> None:
    """What another tool unpacked must be what was packed."""
    for item in changes:
        entry = item.entry
        st = os.lstat(tree / entry.path)
        if entry.kind == "hardlink":
            assert st.st_ino == os.lstat(tree / entry.link).st_ino, entry.path
            continue
        if entry.kind == "symlink":
            assert os.readlink(tree / entry.path) == entry.link
            continue
        assert stat.S_IMODE(st.st_mode) == entry.mode, entry.path
        if exact_times:
            assert st.st_mtime_ns == entry.mtime_ns, entry.path
        if IS_ROOT:
            assert (st.st_uid, st.st_gid) == (entry.uid, entry.gid), entry.path
            for name, value in entry.xattrs:
                assert os.getxattr(tree / entry.path, name) == value, entry.path
        if entry.kind == "file":
            assert (tree / entry.path).stat().st_size == entry.size, entry.path
        if entry.kind == "char":
            assert (os.major(st.st_rdev), os.minor(st.st_rdev)) == (entry.major, entry.minor)


def test_gnu_tar_unpacks_what_was_packed(tmp_path: Path) -> None:
    needs("tar")
    changes = [*LAYER, *(ROOTS if IS_ROOT else [])]
    (tmp_path / "out").mkdir()
    run(
        "tar", "-xp", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", tmp_path / "out", input=tar_of(changes)
    )
    check_tree(tmp_path / "out", changes)
    assert (tmp_path / "out/sparse").read_bytes() == b"head" + bytes(1 << 20) + b"tail"


@pytest.mark.parametrize(
    ("form", "sparse"),
    [
        *((form, "") for form in ("gnu", "oldgnu", "pax", "ustar", "v7")),
        *(("pax", version) for version in ("0.0", "0.1", "1.0")),
        ("gnu", "1.0"),
        ("oldgnu", "1.0"),
    ],
)
def test_archives_of_gnu_tar_are_unpacked(tmp_path: Path, form: str, sparse: str) -> None:
    needs("tar")
    source, tree = tmp_path / "source", tmp_path / "tree"
    source.mkdir()
    tree.mkdir()
    names = [LONG, "caf\u00e9"] if form not in ("ustar", "v7") else ["short"]
    for name in names:
        (source / name).write_text(name)
    with (source / "sparse").open("wb") as stream:
        for position in range(1, 60, 2):
            stream.seek(position << 16)
            stream.write(b"x" * 100)
        stream.truncate(61 << 16)
    (source / "d").mkdir()
    os.link(source / "sparse", source / "d/link")
    (source / "d/s").symlink_to("../sparse")
    if form != "v7":
        os.mkfifo(source / "fifo")
    options = ["-S", f"--sparse-version={sparse}"] if sparse else []
    tar = tmp_path / "tar"
    run("tar", "-cf", tar, f"--format={form}", "--sort=name", *options, "-C", source, ".")
    if sparse:
        assert tar.stat().st_size < 1 << 20, "GNU tar wrote no sparse file, so this tests nothing"
    with tar.open("rb") as stream:
        index = unpack(stream, tree)
    with tar.open("rb") as stream:
        assert index_layer(stream).entries == index.entries
    for name in names:
        assert (tree / name).read_text() == name
    assert (tree / "sparse").read_bytes() == (source / "sparse").read_bytes()
    assert (tree / "d/link").stat().st_ino == (tree / "sparse").stat().st_ino
    assert os.readlink(tree / "d/s") == "../sparse"
    assert index.get("sparse") is not None
    assert index.get("d/link").digest == hashlib.sha256((source / "sparse").read_bytes()).hexdigest()  # type: ignore[union-attr]


def test_attributes_of_gnu_tar_are_unpacked(tmp_path: Path) -> None:
    needs("tar")
    source, tree = tmp_path / "source", tmp_path / "tree"
    source.mkdir()
    tree.mkdir()
    (source / "f").write_text("x")
    os.utime(source / "f", ns=(NOW, NOW))
    os.setxattr(source / "f", "user.note", b"\0binary=\n")
    if IS_ROOT:
        os.setxattr(source / "f", "security.capability", CAPABILITY)
    run("tar", "-cf", tmp_path / "tar", "--xattrs", "--xattrs-include=*", "--format=pax", "-C", source, "f")
    with (tmp_path / "tar").open("rb") as stream:
        entry = unpack(stream, tree).entries[0]
    assert entry.mtime_ns == NOW == os.stat(tree / "f").st_mtime_ns
    assert dict(entry.xattrs) == {name: os.getxattr(tree / "f", name) for name in os.listxattr(tree / "f")}
    assert entry.xattrs == diff_upper(tree)[0].entry.xattrs
    assert len(entry.xattrs) == 1 + IS_ROOT


def layout(path: Path, layers: Sequence[bytes]) -> None:
    """An OCI image layout of plain tars."""
    blobs = path / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media_type: str) -> dict[str, object]:
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(data)}

    kind = "application/vnd.oci.image"
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": put(json.dumps(config).encode(), f"{kind}.config.v1+json"),
        "layers": [put(tar, f"{kind}.layer.v1.tar") for tar in layers],
    }
    top = put(json.dumps(manifest).encode(), f"{kind}.manifest.v1+json")
    top["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


BASE = [
    make("etc", "dir"),
    make("etc/gone", "file", b"1"),
    make("etc/kept", "file", b"2"),
    make("opt", "dir"),
    make("opt/old", "file", b"3"),
]
ABOVE = [
    make("etc", "dir"),
    make("etc/gone", "whiteout"),
    make("opt", "dir", opaque=True),
    make("opt/new", "file", b"4"),
]


@pytest.mark.attack("T36")
def test_umoci_unpacks_what_was_packed(tmp_path: Path) -> None:
    """umoci reads with Go's archive/tar, as docker and containerd do."""
    needs("umoci")
    changes = [*LAYER, *(ROOTS if IS_ROOT else [])]
    layout(tmp_path / "oci", [tar_of(changes), tar_of(BASE), tar_of(ABOVE)])
    run(
        "umoci",
        "unpack",
        *([] if IS_ROOT else ["--rootless"]),
        "--image",
        f"{tmp_path}/oci:latest",
        tmp_path / "bundle",
    )
    root = tmp_path / "bundle/rootfs"
    check_tree(root, changes)
    assert not (root / "etc/gone").exists() and (root / "etc/kept").exists()
    assert sorted(os.listdir(root / "opt")) == ["new"]


def test_skopeo_copies_what_was_packed(tmp_path: Path) -> None:
    needs("skopeo")
    tar = tar_of(LAYER)
    layout(tmp_path / "oci", [tar])
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    run("skopeo", "--policy", policy, "--tmpdir", tmp_path, "copy", f"oci:{tmp_path}/oci:latest", f"dir:{tmp_path}/dir")
    manifest = json.loads((tmp_path / "dir/manifest.json").read_bytes())
    copied = tmp_path / "dir" / manifest["layers"][0]["digest"].partition(":")[2]
    with copied.open("rb") as stream:
        assert stream.read() == tar
    run("skopeo", "--policy", policy, "--tmpdir", tmp_path, "copy", f"oci:{tmp_path}/oci:latest",
        f"docker-archive:{tmp_path}/docker.tar:x:y")  # fmt: skip
