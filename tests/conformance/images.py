"""Image archives (docker save's format): bases are written, results are read; nothing of tiffin's is used."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tests.conformance.nodes import Node, Table, difference, merge_layers, read_table, to_tar
from tests.support.minimal_image import ARCHITECTURES, base_files

COMMENT = "buildkit.dockerfile.v0"
EMPTY_DIFF_ID = "sha256:" + hashlib.sha256(bytes(1024)).hexdigest()
Result = dict[str, Any]  # config, history, tree; or error


def machine_architecture() -> str:
    return ARCHITECTURES.get(platform.machine(), platform.machine())


@functools.cache
def busybox_layer() -> bytes:
    """busybox with its applets, users and groups; mount points are there, so that old builders leave no trace of
    theirs.
    """
    table: dict[str, object] = {}
    for name, content in base_files().items():
        if content is None:
            table[f"{name}/"] = {"mode": "1777"} if name == "tmp" else {}
        elif isinstance(content, str):
            table[name] = {"link": content.removeprefix("-> ")}
        elif not name.startswith("bin/"):
            table[name] = content.decode()
    nodes = read_table({**table, "dev/": {}, "proc/": {}, "sys/": {}, "etc/hosts": "", "etc/resolv.conf": ""})
    program = base_files()["bin/busybox"]
    assert isinstance(program, bytes)
    nodes["bin/busybox"] = Node(kind="file", mode=0o755, data=program)
    nodes["home/alice"] = Node(kind="dir", mode=0o755, uid=1000, gid=1000)
    return to_tar(nodes)


def write_base(path: Path, name: str, base: Table) -> None:
    """Write the base `name`: busybox (unless `busybox = false`), then a layer of `files`, then `config` and
    `history`.
    """
    layers = [busybox_layer()] if base.get("busybox", True) else []
    if "files" in base:
        layers.append(to_tar(read_table(cast(Table, base["files"]))))
    document = {
        "architecture": base.get("architecture", machine_architecture()),
        "os": "linux",
        "created": "2023-01-01T00:00:00Z",
        "config": base.get("config", {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]}),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]},
        "history": [{"created": "2023-01-01T00:00:00Z", "created_by": f"layer {n}"} for n in range(len(layers))],
    }
    if "author" in base:
        document["author"] = base["author"]
    config = json.dumps(document).encode()
    files = {f"{n}.tar": layer for n, layer in enumerate(layers)}
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [f"{name}:latest"], "Layers": list(files)}]
    with tarfile.open(path, "w") as archive:
        for member, data in {**files, config_name: config, "manifest.json": json.dumps(manifest).encode()}.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


class Archive:
    """One image of an archive."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path) as archive:
            self._files = {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}  # type: ignore[union-attr]
            links = {m.name: m.linkname for m in archive if m.issym()}
        for name, target in links.items():  # docker save links equal layers: a/layer.tar -> ../b/layer.tar
            self._files[name] = self._files[target.removeprefix("../")]
        (manifest,) = json.loads(self._files["manifest.json"])
        self.config: Mapping[str, Any] = json.loads(self._files[manifest["Config"]])
        self._layers: Sequence[str] = manifest["Layers"]
        self.diff_ids: Sequence[str] = self.config["rootfs"]["diff_ids"] or []

    def layers(self, start: int = 0) -> list[bytes]:
        """Layer tars from number `start` on, their DiffIDs checked."""
        result = []
        for name, diff_id in list(zip(self._layers, self.diff_ids, strict=True))[start:]:
            data = self._files[name]
            assert f"sha256:{hashlib.sha256(data).hexdigest()}" == diff_id, f"layer {name} is not {diff_id}"
            result.append(data)
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A base image as results are compared with it."""

    diff_ids: Sequence[str]
    tree: Mapping[str, Node]

    @classmethod
    def read(cls, path: Path) -> Base:
        archive = Archive(path)
        return cls(diff_ids=archive.diff_ids, tree=merge_layers(archive.layers()))


NO_BASE = Base(diff_ids=(), tree={})


def read_result(path: Path, bases: Sequence[Base]) -> Result:
    """What an archive holds, compared with the base it stands on."""
    archive = Archive(path)
    below = [base for base in bases if list(base.diff_ids) == list(archive.diff_ids[: len(base.diff_ids)])]
    base = max(below, key=lambda base: len(base.diff_ids), default=NO_BASE)
    count = len(base.diff_ids)
    result: Result = {"config": _plain(archive.config.get("config") or {})}
    for name in ("author", "variant"):
        if archive.config.get(name):
            result["config"][name] = archive.config[name]
    if archive.config["architecture"] != machine_architecture():
        result["config"]["architecture"] = archive.config["architecture"]
    history = archive.config.get("history") or []
    result["history"] = [_entry(item) for item in history[count:]]
    filled = sum(not item.get("empty_layer") for item in history)
    layers = len(archive.diff_ids)
    assert not history or filled == layers, f"{filled} entries of the history have a layer, {layers} layers are there"
    result["tree"] = difference(merge_layers(archive.layers(count), base.tree), base.tree)
    return result


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Only members with a value; Docker's and OCI's ways of writing "nothing" are one."""
    return {name: value for name, value in sorted(config.items()) if value}


def _entry(item: Mapping[str, Any]) -> str:
    comment = "" if item.get("comment") == COMMENT else f"  [{item.get('comment', '')}]"
    return str(item["created_by"]) + ("  (empty)" if item.get("empty_layer") else "") + comment


def placed(result: Result, http: str) -> Result:
    """The result with what differs from time to time and between machines replaced.

    `{http}` is the file server's address, `{busybox}` size and digest of the program; of its applets only sh is named.
    """
    program = base_files()["bin/busybox"]
    assert isinstance(program, bytes)
    identity = f"{len(program)} bytes sha256:{hashlib.sha256(program).hexdigest()[:16]}"
    placed = json.loads(json.dumps(result).replace(http, "{http}").replace(identity, "{busybox}"))
    if "tree" in placed:
        placed["tree"] = {path: line for path, line in placed["tree"].items() if not _is_applet(path, line)}
    return cast(Result, placed)


def _is_applet(path: str, line: str) -> bool:
    return "-> busybox" in line and not path.endswith("/sh")
