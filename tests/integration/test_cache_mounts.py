"""Cache mounts that travel with a shared cache: --cache-mounts=ID."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run, assert_nothing_left
from tests.support.cache_servers import running_redis
from tests.support.servers import Registry

pytestmark = pytest.mark.userns
Make = Callable[..., Path]
TEXT = """FROM {base}
RUN --mount=type=cache,id=shelf,target=/shelf --mount=type=cache,target=/other,mode=0700 \\
    cat /shelf/log > /before 2>/dev/null; echo {word} >> /shelf/log; ln -sf log /shelf/link; \\
    chown 1000:1001 /shelf/log; chmod 4750 /shelf/log; touch /other/mine
CMD ["cat", "/before"]
"""


def on(root: Path, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """tiffin on another machine: another state directory."""
    argv = [sys.executable, "-m", "tiffin", "--root", str(root), *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert "Traceback" not in done.stderr and (not check or done.returncode == 0), done.stderr
    return done


@pytest.fixture
def remote_base(tiffin: Run, base: str, registry: Registry) -> str:
    name = f"{registry.host}/mounts/base:1"
    tiffin("tag", base, name)
    tiffin("push", name)
    return name


@pytest.mark.parametrize("kind", ["registry", "redis", "dir"])
def test_a_new_cache_mount_begins_with_what_another_builder_left(
    root: Path, context: Make, remote_base: str, registry: Registry, tmp_path: Path, kind: str
) -> None:
    with running_redis(tmp_path) as redis:
        place = {
            "registry": f"type=registry,ref={registry.host}/mounts/cache:{os.urandom(4).hex()}",
            "redis": f"type=redis,url={redis.url}",
            "dir": f"type=dir,path={tmp_path}/cache",
        }[kind]

        def build(state: Path, word: str, *words: str) -> str:
            folder = context(TEXT.format(base=remote_base, word=word))
            done = on(state, "build", "--progress", "plain", "-t", "app", *words, folder)
            assert "warning: " not in done.stderr, done.stderr
            return on(state, "run", "--rm", "app").stdout

        shared = ("--cache-from", place, "--cache-to", f"{place},mode=max", "--cache-mounts", "shelf")
        assert build(root, "one", *shared) == ""
        assert build(tmp_path / "b", "two", *shared) == "one\n"
        assert build(tmp_path / "b", "three", *shared) == "one\ntwo\n", "the one that is here is used"
        assert build(tmp_path / "c", "four", "--cache-from", place) == "", "only what is asked for comes"
        assert build(tmp_path / "d", "five", *shared[:2], *shared[4:]) == "one\ntwo\nthree\n"
        (tree,) = (path for path in (tmp_path / "d").glob("mounts/cache/*/fs") if (path / "log").exists())
        assert (tree / "log").stat().st_mode & 0o7777 == 0o4750 and (tree / "link").readlink() == Path("log")
        for state in (root, tmp_path / "b", tmp_path / "d"):
            assert_nothing_left(state)


def test_export_and_import(root: Path, tiffin: Run, context: Make, remote_base: str, tmp_path: Path) -> None:
    tiffin("build", context(TEXT.format(base=remote_base, word="one")))
    tiffin("cache", "export", "--cache-mounts", "shelf", tmp_path / "moved")
    other = tmp_path / "other"
    reported = on(
        other, "cache", "import", "--cache-mounts", "shelf", "--cache-mounts", "none", tmp_path / "moved"
    ).stderr
    assert "cache mount shelf" in reported and "no shared cache has a cache mount none" in reported
    assert "cache mount" not in on(other, "cache", "ls").stdout
    on(other, "build", "-t", "app", context(TEXT.format(base=remote_base, word="two")))
    assert on(other, "run", "--rm", "app").stdout == "one\n"
    assert_nothing_left(other)


def test_damage_costs_a_warning(root: Path, context: Make, remote_base: str, tmp_path: Path) -> None:
    place = f"type=dir,path={tmp_path}/cache"
    on(
        root,
        "build",
        "--cache-to",
        place,
        "--cache-mounts",
        "shelf",
        context(TEXT.format(base=remote_base, word="one")),
    )
    for path in (tmp_path / "cache/blobs/sha256").iterdir():
        path.write_bytes(b"x" * path.stat().st_size)
    folder = context(TEXT.format(base=remote_base, word="two"))
    done = on(tmp_path / "b", "build", "--cache-from", place, "--cache-mounts", "shelf", "-t", "app", folder)
    assert "warning: cache mount shelf in the dir cache" in done.stderr
    assert on(tmp_path / "b", "run", "--rm", "app").stdout == ""
    missing = on(root, "build", "--cache-to", place, "--cache-mounts", "none", folder)
    assert "cache mount none is not here" in missing.stderr
    alone = on(root, "build", "--cache-mounts", "shelf", folder, check=False)
    assert alone.returncode == 2 and "--cache-mounts needs a shared cache" in alone.stderr
