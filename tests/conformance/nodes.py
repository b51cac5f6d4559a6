"""Files as values: written to a folder, written to a tar, read from an image, and told in one line each.

A table of files, as cases and bases give it, maps a path to text (a file of mode 0644) or to a table: `text`, `mode`,
`uid`, `gid`, `mtime`, `link` (symlink), `hard` (hardlink to that path), `kind` (fifo, socket, char), `xattrs`, `caps`
(security.capability in hex), `size` (zeros), `packed` (compressed text), or `archive` (plain, gzip, bzip2, xz, zstd) of
`members`. A path that ends in a slash is a directory.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import socket
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zstandard

FIXED_TIME = 1_577_880_000  # 2020-01-01 12:00 UTC: what every file of a context has
RECENT_TIME = 1_750_000_000  # from here on a time is "when the build ran" and no rule fixes it
SHOWN_TEXT_BYTES = 80
XATTR = "SCHILY.xattr."
CAPABILITY = "security.capability"  # told in hex
COMPRESSORS: Mapping[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": lambda data: _with_system(gzip.compress(data, mtime=0)),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}
Table = Mapping[str, object]


def _with_system(data: bytes) -> bytes:
    """gzip with one system in its header, which Pythons write differently (RFC 1952 section 2.3, OS)."""
    return data[:9] + b"\x03" + data[10:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One path.

    `kind`: file, dir, link, hard, fifo, socket, char, block; `target` of links; paths without slashes at the ends.
    """

    kind: str
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = FIXED_TIME
    data: bytes = b""
    target: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, str] = field(default_factory=dict)

    def line(self) -> str:
        """How expected files tell it: `file 0644 0:0 "text" @2020-01-01`; times of directories are told by nobody."""
        if self.kind == "hard":
            return f"hard /{self.target}"
        words = [self.kind, f"{self.mode:04o}", f"{self.uid}:{self.gid}"]
        if self.kind == "link":
            words[1:2] = []
            words.append(f"-> {self.target}")
        if self.kind == "file":
            words.append(_shown(self.data))
        if self.kind in ("char", "block"):
            words.append("{},{}".format(*self.device))
        words += [f"{name}={json.dumps(value)}" for name, value in sorted(self.xattrs.items())]
        if self.kind != "dir" and self.mtime < RECENT_TIME:
            words.append(f"@{datetime.fromtimestamp(self.mtime, UTC):%Y-%m-%d}")
        return " ".join(words)


def _shown(data: bytes) -> str:
    if len(data) <= SHOWN_TEXT_BYTES:
        try:
            return json.dumps(data.decode(), ensure_ascii=False)
        except UnicodeDecodeError:
            pass
    return f"{len(data)} bytes sha256:{hashlib.sha256(data).hexdigest()[:16]}"


# -- from a table ------------------------------------------------------------------------------------------------------


def read_table(table: Table) -> dict[str, Node]:
    """The nodes of a table, in its order; missing parents are left to the writer."""
    return {path.rstrip("/"): _node(path, spec) for path, spec in table.items()}


def _node(path: str, spec: object) -> Node:
    if isinstance(spec, str):
        return Node(kind="file", mode=0o644, data=spec.encode())
    assert isinstance(spec, dict), f"{path}: {spec!r} is not a file"
    known = {
        "text",
        "mode",
        "uid",
        "gid",
        "mtime",
        "link",
        "hard",
        "kind",
        "xattrs",
        "size",
        "archive",
        "members",
        "dev",
        "caps",
        "packed",
    }
    assert set(spec) <= known, f"{path}: unknown {set(spec) - known}"
    kind = spec.get("kind") or _kind(path, spec)
    default = 0o755 if kind == "dir" else 0o777 if kind == "link" else 0o644
    data = str(spec.get("text", "")).encode() or bytes(int(spec.get("size", 0)))
    if "packed" in spec:
        data = COMPRESSORS[spec["packed"]](data)
    if "archive" in spec:
        data = COMPRESSORS[spec["archive"]](to_tar(read_table(spec["members"]), implied=False))
    return Node(
        kind=kind,
        mode=int(spec["mode"], 8) if "mode" in spec else default,
        uid=spec.get("uid", 0),
        gid=spec.get("gid", 0),
        mtime=spec.get("mtime", FIXED_TIME),
        data=data,
        target=spec.get("link") or spec.get("hard") or "",
        device=tuple(spec.get("dev", (1, 3))) if kind in ("char", "block") else (0, 0),
        xattrs={**spec.get("xattrs", {}), **({CAPABILITY: spec["caps"]} if "caps" in spec else {})},
    )


def _kind(path: str, spec: Mapping[str, object]) -> str:
    for key, kind in (("link", "link"), ("hard", "hard")):
        if key in spec:
            return kind
    return "dir" if path.endswith("/") else "file"


# -- to a folder -------------------------------------------------------------------------------------------------------


def write_folder(nodes: Mapping[str, Node], folder: Path) -> None:
    """Write a context: names, types, modes, times, attributes; owners are the caller's, as in a checkout."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, node in nodes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, node, folder)
    # os.walk, as rglob of older Pythons asks where a link leads, also one that is too long to follow
    paths = [Path(above) / name for above, folders, files in os.walk(folder) for name in (*folders, *files)]
    for path in sorted(paths, reverse=True):
        node = nodes.get(str(path.relative_to(folder)), Node(kind="dir", mode=0o755))
        if node.kind != "link":
            path.chmod(node.mode)
        os.utime(path, (node.mtime, node.mtime), follow_symlinks=False)
    os.utime(folder, (FIXED_TIME, FIXED_TIME))


def _write(path: Path, node: Node, folder: Path) -> None:
    match node.kind:
        case "dir":
            path.mkdir(exist_ok=True)
        case "link":
            path.symlink_to(node.target)
        case "hard":
            path.hardlink_to(folder / node.target)
        case "fifo":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as sock:
                sock.bind(str(path))
        case _:
            path.write_bytes(node.data)
    for name, value in node.xattrs.items():
        try:
            os.setxattr(path, name, bytes.fromhex(value) if name == CAPABILITY else value.encode())
        except PermissionError:
            pytest.skip(f"only root may set {name}")


# -- to and from a tar -------------------------------------------------------------------------------------------------


def to_tar(nodes: Mapping[str, Node], *, implied: bool = True) -> bytes:
    """A tar in PAX format. `implied`: parents that are not in the table come as directories of mode 0755."""
    if implied:
        parents = {str(parent) for name in nodes for parent in Path(name).parents if str(parent) != "."}
        missing = {name: Node(kind="dir", mode=0o755) for name in sorted(parents - set(nodes))}
        nodes = dict(sorted({**missing, **nodes}.items(), key=lambda item: (item[1].kind == "hard", item[0])))
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, node in nodes.items():
            reported = replace(nodes[node.target], kind="hard", target=node.target) if node.target in nodes else node
            archive.addfile(member_of(name, reported if node.kind == "hard" else node), io.BytesIO(node.data))
    return stream.getvalue()


_TYPES = {
    "dir": tarfile.DIRTYPE,
    "link": tarfile.SYMTYPE,
    "hard": tarfile.LNKTYPE,
    "fifo": tarfile.FIFOTYPE,
    "char": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
    "file": tarfile.REGTYPE,
}


def member_of(name: str, node: Node) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.uid, member.gid = _TYPES[node.kind], node.mode, node.uid, node.gid
    member.mtime, member.linkname, member.size = node.mtime, node.target, 0 if node.kind == "hard" else len(node.data)
    member.devmajor, member.devminor = node.device
    member.pax_headers = {XATTR + key: _encoded(key, value) for key, value in node.xattrs.items()}
    return member


def _encoded(key: str, value: str) -> str:
    return bytes.fromhex(value).decode("utf-8", "surrogateescape") if key == CAPABILITY else value


def merge_layers(layers: Iterable[bytes], base: Mapping[str, Node] | None = None) -> dict[str, Node]:
    """The tree that a stack of layer tars makes on `base`, whiteouts applied (image-spec layer.md#whiteouts)."""
    tree = dict(base or {})
    for layer in layers:
        fresh: set[str] = set()
        with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
            for member in archive:
                _apply(tree, fresh, archive, member)
    return _grouped(tree)


def _apply(tree: dict[str, Node], fresh: set[str], archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    path = os.path.normpath(member.name).strip("/")
    if path == ".":
        return
    folder, _, name = path.rpartition("/")
    if name == ".wh..wh..opq":
        _drop(tree, folder, keep=fresh)
        return
    if name.startswith(".wh."):
        hidden = f"{folder}/{name[4:]}".strip("/")
        _drop(tree, hidden, keep=fresh)
        _bequeath(tree, hidden, fresh)
        tree.pop(hidden, None)
        return
    for parent in [str(parent) for parent in Path(path).parents if str(parent) != "."]:
        tree.setdefault(parent, Node(kind="dir", mode=0o755, mtime=RECENT_TIME))  # as readers of layers make it
    node = _read_member(archive, member)
    if node.kind != "dir" and path in tree and tree[path].kind == "dir":
        _drop(tree, path, keep=set())
    _bequeath(tree, path, fresh)
    tree[path] = node
    fresh.add(path)


def _bequeath(tree: dict[str, Node], path: str, fresh: set[str]) -> None:
    """Let the other names that lower layers have for the file at `path` hold it: that name is about to go."""
    heirs = [name for name, node in tree.items() if node.kind == "hard" and node.target == path and name not in fresh]
    for name in heirs:
        tree[name] = tree[path] if name == heirs[0] else replace(tree[name], target=heirs[0])


def _drop(tree: dict[str, Node], folder: str, keep: set[str]) -> None:
    for path in [path for path in tree if path.startswith(f"{folder}/") and path not in keep]:
        del tree[path]


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Node:
    kinds = {value: key for key, value in _TYPES.items()} | {tarfile.AREGTYPE: "file", tarfile.GNUTYPE_SPARSE: "file"}
    kind = kinds[member.type]
    stream = archive.extractfile(member) if kind == "file" else None
    return Node(
        kind=kind,
        mode=member.mode & 0o7777,
        uid=member.uid,
        gid=member.gid,
        mtime=int(member.mtime),
        data=stream.read() if stream else b"",
        target=os.path.normpath(member.linkname).strip("/") if kind == "hard" else member.linkname,
        device=(member.devmajor, member.devminor) if kind in ("char", "block") else (0, 0),
        xattrs={
            key.removeprefix(XATTR): value.encode("utf-8", "surrogateescape").hex() if CAPABILITY in key else value
            for key, value in member.pax_headers.items()
            if key.startswith(XATTR)
        },
    )


def _grouped(tree: dict[str, Node]) -> dict[str, Node]:
    """Of the names of one file the first (sorted) tells it and the others point there, however the layers had it."""

    def first_of(path: str) -> str:
        while tree[path].kind == "hard" and tree[path].target in tree:
            path = tree[path].target
        return path

    groups: dict[str, list[str]] = {}
    for path in sorted(tree):
        groups.setdefault(first_of(path), []).append(path)
    result = dict(tree)
    for holder, names in groups.items():
        for name in names[1:]:
            result[name] = replace(tree[holder], kind="hard", target=names[0])
        result[names[0]] = tree[holder]
    return result


def difference(tree: Mapping[str, Node], base: Mapping[str, Node]) -> dict[str, str]:
    """What a build changed: a line for each path that is new or other, "removed" for what is gone."""
    changed = {}
    for path, node in sorted(tree.items()):
        known = base.get(path)
        if known is not node and (known is None or known.line() != node.line()):
            changed[f"/{path}"] = node.line()
    return changed | {f"/{path}": "removed" for path in sorted(base) if path not in tree}
