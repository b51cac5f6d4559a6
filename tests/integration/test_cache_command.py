"""tiffin cache: ls, du, prune, verify, export, import, serve."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run, assert_nothing_left
from tests.support.servers import TIED, Registry, free_port

pytestmark = pytest.mark.userns
Make = Callable[..., Path]
TEXT = "FROM {base}\nCOPY src /src\nRUN cat /src > /app && echo {salt} >> /app\n"


@pytest.fixture
def built(tiffin: Run, context: Make, base: str) -> Path:
    folder = context(TEXT.format(base=base, salt="x"), src="1\n")
    tiffin("build", "-t", "app", folder)
    return folder


def on(root: Path, *words: str | Path, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    """tiffin on another machine: another state directory."""
    argv = [sys.executable, "-m", "tiffin", "--root", str(root), *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False, env={**os.environ, **env})
    assert not check or done.returncode == 0, done.stderr
    return done


def test_ls_and_du(tiffin: Run, built: Path) -> None:
    rows = tiffin("cache", "ls").stdout.splitlines()
    assert rows[0].split() == ["KEY", "CREATED", "SIZE", "TIME", "STEP"]
    assert "RUN cat /src > /app && echo x >> /app" in rows[1] and "COPY src /src" in rows[2]
    documents = [json.loads(line) for line in tiffin("cache", "ls", "--format", "json").stdout.splitlines()]
    assert [item["key"] for item in documents] == tiffin("cache", "ls", "-q").stdout.split()
    assert all(item["key"].startswith(row.split()[0]) for item, row in zip(documents, rows[1:], strict=True))
    assert tiffin("cache", "du").stdout.splitlines()[1].split()[:3] == ["Step", "records", str(len(documents))]


def test_prune_keeps_what_it_should(tiffin: Run, built: Path, base: str, context: Make) -> None:
    for number in range(3):
        tiffin("build", context(TEXT.format(base=base, salt=number), name=f"c{number}", src="1\n"))
    steps = len(tiffin("cache", "ls", "-q").stdout.split())
    tiffin("cache", "prune", "-f", "--older-than", "1h")
    assert len(tiffin("cache", "ls", "-q").stdout.split()) == steps
    tiffin("cache", "prune", "-f", "--keep", "2")
    assert len(tiffin("cache", "ls", "-q").stdout.split()) <= 2
    tiffin("cache", "prune", "-f", "--max-size", "1k")
    assert tiffin("cache", "ls", "-q").stdout == ""
    assert tiffin("run", "--rm", "app", "cat", "/app").stdout == "1\nx\n", "an image keeps its layers"
    wrong = tiffin("cache", "prune", "-f", "--older-than", "soon", check=False)
    assert wrong.returncode == 2 and "--older-than soon is not a valid time" in wrong.stderr


def test_verify_finds_damage(tiffin: Run, built: Path, root: Path) -> None:
    assert tiffin("cache", "verify").stdout.endswith(", 0 damaged\n")
    blob = max((root / "images/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    tree = next(path for path in (root / "layers").glob("*/fs.*") if (path / "app").exists())
    (tree / "app").write_text("other")
    found = tiffin("cache", "verify", check=False)
    assert found.returncode == 1 and f"blob sha256:{blob.name}" in found.stdout and "was changed" in found.stdout
    assert "2 damaged and removed" in tiffin("cache", "verify", "--repair").stdout
    assert tiffin("cache", "verify").stdout.endswith(", 0 damaged\n")


FORMATS = {"gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT, "ustar": tarfile.USTAR_FORMAT}


def foreign_image(folder: Path, busybox: Path, kind: str = "gnu") -> Path:
    """An image archive whose layer no tool of ours packed: as docker import has it.

    `kind`: a format of tar, or something that tools of ours would have written otherwise.
    """
    layer, archive = folder / "layer.tar", folder / "image.tar"
    with tarfile.open(layer, "w", format=FORMATS.get(kind, tarfile.PAX_FORMAT)) as tar:
        for name in ("bin/sh", "bin/true", "bin/busybox", "etc/passwd"):
            tar.add(busybox / "rootfs" / name, f"./{name}" if kind == "dots" else name)
        if kind != "no directories":
            tar.add(busybox / "rootfs/etc", "etc", recursive=False)
        if kind == "twice":
            tar.add(busybox / "rootfs/etc/passwd", "etc/passwd")
        if kind == "links":
            member = tarfile.TarInfo("etc/other")
            member.type, member.linkname = tarfile.LNKTYPE, "etc/passwd"
            tar.addfile(member)
        if kind == "attributes":
            member = tarfile.TarInfo("etc/kept")
            member.pax_headers = {"SCHILY.xattr.user.kept": "x", "mtime": "1.5", "atime": "2.25"}
            tar.addfile(member)
    config = {"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"]}}
    config["rootfs"] = {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer.read_bytes()).hexdigest()]}
    (folder / "config.json").write_text(json.dumps(config))
    manifest = [{"Config": "config.json", "RepoTags": ["foreign:1"], "Layers": ["layer.tar"]}]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with tarfile.open(archive, "w") as tar:
        for name in ("layer.tar", "config.json", "manifest.json"):
            tar.add(folder / name, name)
    return archive


@pytest.mark.parametrize("kind", [*FORMATS, "dots", "no directories", "twice", "links", "attributes"])
def test_layers_of_every_kind_are_sound(tiffin: Run, busybox: Path, root: Path, tmp_path: Path, kind: str) -> None:
    tiffin("load", "-i", foreign_image(tmp_path, busybox, kind))
    tiffin("run", "--rm", "foreign:1", "true")
    assert tiffin("cache", "verify").stdout.endswith(", 0 damaged\n")


def test_verify_of_layers_that_others_packed(tiffin: Run, busybox: Path, root: Path, tmp_path: Path) -> None:
    tiffin("load", "-i", foreign_image(tmp_path, busybox))
    tiffin("run", "--rm", "foreign:1", "true")
    assert tiffin("cache", "verify").stdout.endswith(", 0 damaged\n")
    assert "0 damaged" in tiffin("cache", "verify", "--repair").stdout
    (tree,) = (root / "layers").glob("*/fs.*")
    assert (tree / "etc/passwd").exists(), "nothing is taken away"
    index = tree.parent / "index"
    before = index.read_bytes()
    index.write_bytes(before.replace(b'"version":', b'"version":9', 1))
    assert tiffin("cache", "verify").stdout.endswith(", 0 damaged\n"), "a table of another tiffin is not damaged"
    index.write_bytes(before[:-20])
    assert "index is damaged" in tiffin("cache", "verify", check=False).stdout
    index.write_bytes(before)
    (tree / "etc/passwd").chmod(0o600)
    found = tiffin("cache", "verify", check=False)
    assert found.returncode == 1 and 'was changed: "etc/passwd" has another mode' in found.stdout
    assert "1 damaged and removed" in tiffin("cache", "verify", "--repair").stdout
    tiffin("run", "--rm", "foreign:1", "true")
    assert tiffin("cache", "verify").stdout.endswith(", 0 damaged\n")


@pytest.mark.parametrize("kind", ["directory", "registry"])
def test_export_and_import(
    tiffin: Run, built: Path, base: str, tmp_path: Path, registry: Registry, root: Path, kind: str
) -> None:
    place = str(tmp_path / "cache") if kind == "directory" else f"type=registry,ref={registry.host}/moved/cache:1"
    tiffin("save", "-o", tmp_path / "base.tar", base)
    assert "layers" in tiffin("cache", "export", place).stderr
    other = tmp_path / "other"
    on(other, "load", "-q", "-i", tmp_path / "base.tar")
    assert "brought" in on(other, "cache", "import", place).stderr
    assert " DONE " not in on(other, "build", "--progress", "plain", "-t", "app", built).stderr
    assert on(other, "run", "--rm", "app", "cat", "/app").stdout == "1\nx\n"
    assert_nothing_left(other)
    for bad in ("type=redis,url=redis://127.0.0.1:1", str(tmp_path / "none")):
        assert on(other, "cache", "import", bad, check=False).returncode in (1, 2)


def test_serve_to_another_builder(tiffin: Run, built: Path, base: str, tmp_path: Path, root: Path) -> None:
    tiffin("save", "-o", tmp_path / "base.tar", base)
    other = tmp_path / "other"
    on(other, "load", "-q", "-i", tmp_path / "base.tar")
    port = free_port()
    (tmp_path / "token").write_text("hushhush\n")
    argv = [
        *(*TIED, sys.executable, "-m", "tiffin", "--root", str(root), "cache", "serve"),
        *("--listen", f"127.0.0.1:{port}", "--token-file", str(tmp_path / "token")),
    ]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            assert server.stdout.readline() == f"serving on http://127.0.0.1:{port}\n"
            place = ("--cache-from", f"type=http,url=http://127.0.0.1:{port}")
            refused = on(other, "build", "--progress", "plain", *place, built)
            assert (
                "answered with 401 (is TIFFIN_CACHE_TOKEN what it printed?)" in refused.stderr
                and " DONE " in refused.stderr
            )
            on(other, "cache", "prune", "-f", "--keep", "0")
            built.joinpath("src").write_text("1\n")
            taken = on(other, "build", "--progress", "plain", "-t", "app", *place, built, TIFFIN_CACHE_TOKEN="hushhush")
            assert "CACHED (http)" in taken.stderr and "hushhush" not in taken.stderr
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(10) == 0
    assert on(other, "run", "--rm", "app", "cat", "/app", check=False).returncode in (0, 1)
