"""--cache-to on one machine, --cache-from on another: what was built once is not built, nor downloaded, again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run, assert_nothing_left
from tests.servers import Registry

pytestmark = pytest.mark.userns
Make = Callable[..., Path]
TEXT = """FROM {base} AS deps
COPY deps /deps
RUN cat /deps > /installed && head -c 300000 /dev/urandom >> /installed
FROM {base} AS tools
RUN echo tool > /tool
FROM deps
COPY --from=tools /tool /usr/bin/tool
COPY src /src
RUN cat /src /usr/bin/tool > /app
CMD ["cat", "/app"]
"""
BIG = 100_000  # bytes; the layer of the RUN in deps is larger, every document smaller


@pytest.fixture
def remote_base(tiffin: Run, base: str, registry: Registry) -> str:
    name = f"{registry.host}/shared/base:1"
    tiffin("tag", base, name)
    tiffin("push", name)
    return name


def build(root: Path, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """On another machine: another state directory."""
    argv = [sys.executable, "-m", "builder", "--root", str(root), "build", "--progress", "plain", *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=200, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


def shares(kind: str, registry: Registry, tmp_path: Path, mode: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """The options to fill and to use a cache."""
    if kind == "registry":
        name = f"{registry.host}/shared/cache-{mode}:{tmp_path.name[-20:].strip('_').lower()}"
        return ("--cache-to", f"type=registry,ref={name},mode={mode}"), ("--cache-from", name)
    return ("--cache-to", f"type=local,dest={tmp_path}/cache,mode={mode}"), (
        "--cache-from",
        f"type=local,src={tmp_path}/cache",
    )


@pytest.mark.parametrize("kind", ["registry", "local"])
def test_second_builder_does_only_what_changed(
    root: Path, context: Make, remote_base: str, registry: Registry, tmp_path: Path, kind: str
) -> None:
    files = {"deps": "1", "src": "1"}
    to, use = shares(kind, registry, tmp_path, "max")
    image = f"{registry.host}/shared/app-{kind}:1"
    first = build(root, *to, "--push", "-t", image, context(TEXT.format(base=remote_base), **files))
    other = context(TEXT.format(base=remote_base), name="elsewhere", **files)
    for path in other.iterdir():
        os.utime(path, (1, 1))
    second = build(tmp_path / "b", *use, "-o", f"type=registry,name={image}", other)
    assert second.stdout == first.stdout and " DONE " not in second.stderr
    assert second.stderr.count(f"CACHED ({kind})") + second.stderr.count("CACHED") >= 5
    blobs = [path for path in (tmp_path / "b/images/blobs/sha256").iterdir() if path.stat().st_size > BIG]
    if kind == "registry":
        assert blobs == [], "a layer was downloaded"
    (other / "src").write_text("2")
    third = build(tmp_path / "b", *use, "-t", "changed", other)
    assert third.stderr.count(" DONE ") == 2 and "COPY src" in third.stderr
    run = [sys.executable, "-m", "builder", "--root", str(tmp_path / "b"), "run", "--rm", "changed"]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "2tool\n"
    assert_nothing_left(tmp_path / "b")


def test_min_shares_the_target_only(
    root: Path, context: Make, remote_base: str, registry: Registry, tmp_path: Path
) -> None:
    to, use = shares("local", registry, tmp_path, "min")
    folder = context(TEXT.format(base=remote_base), deps="1", src="1")
    build(root, *to, folder)
    document = json.loads((tmp_path / "cache/records.json").read_text())
    shown = {record["description"] for record in document["records"].values()}
    assert "RUN echo tool > /tool" not in shown and "COPY src /src" in shown
    assert " DONE " not in build(tmp_path / "b", *use, folder).stderr  # the stage of tools is not needed
    build(root, *to, context(TEXT.format(base=remote_base), deps="1", src="other"))
    again = json.loads((tmp_path / "cache/records.json").read_text())
    assert document["records"].keys() < again["records"].keys()


def test_caches_that_cannot_be_used_cost_a_warning(
    root: Path, context: Make, remote_base: str, registry: Registry, tmp_path: Path
) -> None:
    folder = context(TEXT.format(base=remote_base), deps="1", src="1")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/records.json").write_text('{"schema": 99}')
    done = build(
        root, "--cache-from", f"{registry.host}/shared/none:1", "--cache-from", f"type=local,src={tmp_path}/none",
        "--cache-from", f"type=local,src={tmp_path}/bad", "--cache-from", remote_base, folder,
    )  # fmt: skip
    assert done.stderr.count("warning: ") == 4
    assert "is not there yet" in done.stderr and "malformed" in done.stderr and "is no tiffin cache" in done.stderr


def test_wrong_bytes_never_become_a_layer(
    root: Path, context: Make, remote_base: str, registry: Registry, tmp_path: Path
) -> None:
    to, use = shares("local", registry, tmp_path, "max")
    folder = context(TEXT.format(base=remote_base), deps="1", src="1")
    build(root, *to, folder)
    for path in (tmp_path / "cache/blobs/sha256").iterdir():
        path.write_bytes(b"x" * path.stat().st_size)
    (folder / "src").write_text("2")
    done = build(tmp_path / "b", *use, "-t", "right", folder)
    assert "warning: building without shared caches, as one failed" in done.stderr
    run = [sys.executable, "-m", "builder", "--root", str(tmp_path / "b"), "run", "--rm", "right"]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "2tool\n"


@pytest.mark.parametrize(
    ("flag", "text", "message"),
    [
        ("--cache-from", "type=s4,ref=x", 'unknown type "s4"'),
        ("--cache-from", "type=local,dest=x", "type=local needs src="),
        ("--cache-to", "type=local,src=x", "type=local needs dest="),
        ("--cache-to", "type=registry,ref=x,mode=most", "mode or ignore-error is wrong"),
        ("--cache-to", "type=registry,erf=x", 'did you mean "ref"?'),
        ("--cache-to", "type=registry,ref", "has no value"),
    ],
)
def test_bad_options(root: Path, context: Make, flag: str, text: str, message: str) -> None:
    done = build(root, flag, text, context("FROM scratch\n"), check=False)
    assert done.returncode == 2 and message in done.stderr


def test_error_of_writing(root: Path, context: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = context("FROM scratch\nCOPY Dockerfile /\n")
    place = f"type=local,dest={tmp_path}/file/below"
    assert build(root, "--cache-to", place, folder, check=False).returncode == 1
    assert "was not written" in build(root, "--cache-to", f"{place},ignore-error=true", folder).stderr
