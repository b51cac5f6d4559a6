"""Shared caches that refuse, hang, break off, lie, or fill up: the image is right all the same, and soon enough."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.forkserver import ForkServer
from tests.conftest import assert_nothing_left
from tests.support.cache_contents import (
    BLOB_DAMAGES,
    ROW_DAMAGES,
    Contents,
    FileContents,
    RedisContents,
    RegistryContents,
    S3Contents,
    damage,
)
from tests.support.cache_servers import BUCKET, S3_OPTIONS, CacheServer, running_nginx, running_redis, running_s3
from tests.support.cli_runner import CliRunner
from tests.support.faults import faulty
from tests.support.servers import Registry

pytestmark = pytest.mark.userns
Make = Callable[..., Path]
TEXT = """FROM {base} AS one
RUN head -c 300000 /dev/urandom > /big && echo {salt} > /one
FROM {base}
COPY --from=one /one /big /
COPY src /src
RUN cat /one /src > /app
CMD ["cat", "/app"]
"""
KINDS = ("registry", "redis", "http", "s3", "dir")
GIVE_UP = 2  # seconds, timeout= of the caches here
PATIENCE = 30  # seconds; more than any number of GIVE_UPs that a build may take


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A cache of each kind that holds the build of `text`; `template` is a state directory with its base alone."""

    template: Path
    text: str
    ports: Mapping[str, int]
    contents: Mapping[str, Contents]
    server: ForkServer

    def run(self, root: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
        env = {"PATH": os.environ["PATH"], "HOME": str(self.template.parent)}
        done = self.server.run(["--root", str(root), *map(str, words)], cwd=self.template.parent, env=env)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def build(self, folder: Path, place: str) -> subprocess.CompletedProcess[str]:
        """By a builder that has the base, with a source that nobody built before; checks what the image gives."""
        other = folder / "b"
        shutil.copytree(self.template, other, symlinks=True)
        context = folder / "context"
        context.mkdir()
        (context / "Dockerfile").write_text(self.text)
        source = f"{uuid.uuid4()}\n"  # the names of folders come again
        (context / "src").write_text(source)
        caches = ("--cache-from", place, "--cache-to", place)
        began = time.monotonic()
        done = self.run(other, "build", "--progress", "plain", *caches, "-t", "app", context)
        assert done.returncode == 0 and time.monotonic() - began < PATIENCE, done.stderr
        assert self.run(other, "run", "--rm", "app").stdout == f"salt\n{source}"
        assert_nothing_left(other)
        return done


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, registry: Registry, busybox: Path) -> Iterator[Filled]:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "out").mkdir()
    mark = f"faults-{os.getpid()}"
    with contextlib.ExitStack() as stack:
        servers: dict[str, CacheServer] = {}
        for name, start in (("redis", running_redis), ("http", running_nginx), ("s3", running_s3)):
            (folder / name).mkdir()
            servers[name] = stack.enter_context(start(folder / name))
        argv = (sys.executable, "-m", "tests.conformance.forkserver", "redis", "boto3", "botocore.endpoint")
        blobs = registry.data / "docker/registry/v2/blobs/sha256"
        made = Filled(
            template=folder / "template",
            text=TEXT.format(base="base", salt="salt"),
            ports={"registry": int(registry.host.split(":")[1])} | {name: item.port for name, item in servers.items()},
            contents={
                "registry": RegistryContents(blobs),
                "redis": RedisContents(servers["redis"].url),
                "http": FileContents(servers["http"].data / "cache/x/ac", servers["http"].data / "cache/x/cas", "*"),
                "s3": S3Contents(servers["s3"].url, "x/"),
                "dir": FileContents(folder / "dir/records", folder / "dir/blobs", "*/*"),
            },
            server=stack.enter_context(ForkServer(folder / "out", argv)),
        )
        assert made.run(made.template, "build", "-q", "-t", "base", busybox).returncode == 0
        shutil.copytree(made.template, folder / "first", symlinks=True)
        context = folder / "first-context"
        context.mkdir()
        (context / "Dockerfile").write_text(made.text)
        (context / "src").write_text("first")
        caches = [
            w for kind in KINDS for w in ("--cache-to", made_option(made, kind, mark if kind == "registry" else "x"))
        ]
        done = made.run(folder / "first", "build", "--progress", "plain", *caches, context)
        assert done.stderr.count("shared ") == len(KINDS), done.stderr
        yield made


def made_option(filled: Filled, kind: str, name: str, port: int = 0) -> str:
    """The cache that was filled, itself or behind a port."""
    if kind == "dir":
        return f"type=dir,path={filled.template.parent}/dir,mode=max,timeout={GIVE_UP}"
    return option(kind, port or filled.ports[kind], name)


def name_of(kind: str) -> str:
    return f"faults-{os.getpid()}" if kind == "registry" else "x"


def build(root: Path, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tiffin", "--root", str(root), "build", "--progress", "plain", *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert not check or done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done


def option(kind: str, port: int, name: str, more: str = "") -> str:
    """The cache called `name` behind a port."""
    texts = {
        "registry": f"type=registry,ref=127.0.0.1:{port}/faults/cache:{name}",
        "redis": f"type=redis,url=redis://127.0.0.1:{port}/0",
        "http": f"type=http,url=http://127.0.0.1:{port}/cache/{name}",
        "s3": f"type=s3,bucket={BUCKET},prefix={name}/,{S3_OPTIONS},endpoint_url=http://127.0.0.1:{port}",
    }
    return f"{texts[kind]},mode=max,timeout={GIVE_UP}{more}"


FAULTS = {
    "hang": "hang",
    "reset": "reset",
    "reset mid-blob": "reset",
    "drip": "drip",
    "status 500": "HTTP/1.1 500 Broken",
    "status 429": "HTTP/1.1 429 Slow Down\r\nRetry-After: 1",
    "status 507": "HTTP/1.1 507 Full",
    "nonsense": "HTTP/1.1 200 OK\r\nContent-Type: text/html",
}
RESET_AFTER = {
    "reset": 2000,
    "reset mid-blob": 150_000,
}  # bytes; the large layer has 300,000, all documents less than 100,000


@pytest.mark.parametrize("kind", ["registry", "redis", "http", "s3"])
@pytest.mark.parametrize("fault", [*FAULTS, "refused"])
def test_right_image_whatever_the_cache_does(filled: Filled, tmp_path: Path, kind: str, fault: str) -> None:
    if fault == "refused":
        done = filled.build(tmp_path, made_option(filled, kind, name_of(kind), port=9))
        assert f"warning: {kind} cache" in done.stderr
        return
    with faulty(filled.ports[kind]) as proxy:
        proxy.mode, proxy.after = FAULTS[fault], RESET_AFTER.get(fault, 0)
        done = filled.build(tmp_path, made_option(filled, kind, name_of(kind), port=proxy.port))
        assert "warning: " in done.stderr, done.stderr
        assert proxy.connections > 0 or "no answer within" in done.stderr  # a busy machine may take so long to ask


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", [*BLOB_DAMAGES, *ROW_DAMAGES])
def test_right_image_whatever_the_cache_holds(filled: Filled, tmp_path: Path, kind: str, what: str) -> None:
    """Damaged behind the back of the store: found, told, made again."""
    place = made_option(filled, kind, name_of(kind))
    mend = damage(filled.contents[kind], what)
    try:
        done = filled.build(tmp_path, place)
        assert "warning: " in done.stderr and " DONE " in done.stderr, done.stderr
        if kind != "registry" or what in BLOB_DAMAGES:  # a registry does not serve a damaged manifest: 500
            again = filled.build(tmp_path / "again", place)  # what was no good was written anew
            assert "warning: " not in again.stderr, again.stderr
    finally:
        mend()


@pytest.mark.parametrize("kind", ["registry", "redis", "http", "s3"])
def test_required_caches_fail_the_build(root: Path, context: Make, base: str, kind: str) -> None:
    folder = context(TEXT.format(base=base, salt="x"), src="1\n")
    for flag in ("--cache-from", "--cache-to"):
        done = build(root, flag, option(kind, 9, "x", ",required=true"), folder, check=False)
        assert done.returncode == 1 and f"{kind} cache" in done.stderr and "127.0.0.1:9" in done.stderr


def test_redis_that_is_killed_and_comes_back(root: Path, context: Make, base: str, tmp_path: Path) -> None:
    """Killed while a step runs, back for the next build."""
    (tmp_path / "redis").mkdir()
    folder = context(
        (f"FROM {base}\nRUN echo a > /a\nRUN while [ ! -e /signal/go ]; do sleep 0.05; done; echo b > /b\n"
        "RUN echo c > /c\n")
        .replace("RUN while", "RUN --mount=type=bind,target=/signal,from=signal while")
    )  # fmt: skip
    (tmp_path / "signal").mkdir()
    with running_redis(tmp_path / "redis") as server:
        place = f"{server.url},mode=max,timeout={GIVE_UP}"
        argv = [
            *(sys.executable, "-m", "tiffin", "--root", str(root), "build", "--progress", "plain"),
            *("--cache-from", f"type=redis,url={place}", "--cache-to", f"type=redis,url={place}", str(folder)),
        ]
        dockerfile = folder / "Dockerfile"
        dockerfile.write_text(
            f"FROM {base}\nRUN echo a > /a\nRUN echo started && sleep 3 && echo b > /b\nRUN echo c > /c\n"
        )
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
            assert running.stderr is not None
            lines = []
            for line in running.stderr:
                lines.append(line)
                if line.rstrip().endswith("started"):
                    server.process.send_signal(signal.SIGKILL)
            assert running.wait() == 0
        assert any("warning: redis cache" in line and "connection failed" in line for line in lines), lines
    (tmp_path / "again").mkdir()
    with running_redis(tmp_path / "again", port=server.port):
        done = build(root, "--cache-to", f"type=redis,url={place}", folder)
        assert "with redis cache" in done.stderr and " DONE " not in done.stderr


def test_redis_that_is_full(root: Path, context: Make, base: str, tmp_path: Path) -> None:
    folder = context(TEXT.format(base=base, salt="x"), src="1\n")
    with running_redis(tmp_path, "--maxmemory", "1100k", "--maxmemory-policy", "noeviction") as server:
        done = build(root, "--cache-to", f"type=redis,url={server.url},mode=max", folder)
    assert "was not filled: it is full" in done.stderr


def test_redis_with_a_password(root: Path, context: Make, base: str, tmp_path: Path) -> None:
    folder = context(TEXT.format(base=base, salt="x"), src="1\n")
    with running_redis(tmp_path, "--requirepass", "hushhush") as server:
        url = server.url.replace("//", "//:wrong-word@")
        refused = build(root, "--cache-to", f"type=redis,url={url}", folder)
        assert "refused" in refused.stderr and "wrong-word" not in refused.stderr
        url = server.url.replace("//", "//:hushhush@")
        taken = build(root, "--cache-to", f"type=redis,url={url}", folder)
        assert "with redis cache" in taken.stderr and "hushhush" not in taken.stderr


def test_directory_on_a_full_disk(root: Path, context: Make, base: str, tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: writing fails half way through a layer."""
    folder = context(TEXT.format(base=base, salt="x"), src="1\n")
    build(root, folder)
    place = f"type=dir,path={tmp_path}/cache,mode=max"
    argv = [sys.executable, "-m", "tiffin", "--root", str(root), "build", "--cache-to", place, str(folder)]
    limited = ["sh", "-c", 'trap "" XFSZ; ulimit -f 200; exec "$@"', "sh", *argv]
    done = subprocess.run(limited, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0 and "was not filled" in done.stderr, done.stderr
    assert list((tmp_path / "cache/tmp").iterdir()) == []
    for path in (tmp_path / "cache/records").glob("*/*"):
        layer = json.loads(path.read_text())["layer"]
        blob = tmp_path / "cache/blobs/sha256" / layer["digest"].removeprefix("sha256:")
        assert blob.stat().st_size == layer["size"], "a record without its layer"


def test_what_a_killed_builder_left_in_a_directory_goes(root: Path, context: Make, base: str, tmp_path: Path) -> None:
    left, fresh = (tmp_path / "cache/tmp" / name for name in ("of-last-week", "of-now"))
    left.parent.mkdir(parents=True)
    for path in (left, fresh):
        path.write_bytes(b"half a layer")
    long_ago = time.time() - 7 * 24 * 3600
    os.utime(left, (long_ago, long_ago))
    build(root, "--cache-to", f"type=dir,path={tmp_path}/cache", context(TEXT.format(base=base, salt="x"), src="1\n"))
    assert list(left.parent.iterdir()) == [fresh] and list((tmp_path / "cache/records").glob("*/*"))


def test_layers_that_only_another_isolation_reads_are_made_again(cli: CliRunner) -> None:
    """Those of stages that no image has are unpacked only, with the owners of one user namespace."""
    folder = cli.folder / "two-isolations"
    folder.mkdir()
    stage = "FROM minimal AS other\nRUN echo word >/word\nFROM minimal\n"
    for isolation, shown in (("range", "one"), ("single", "two"), ("range", "three")):
        mount = "--mount=type=bind,from=other,source=/word,target=/m"
        (folder / "Dockerfile").write_text(f"{stage}RUN {mount} echo {shown} $(cat /m) >/said\n")
        cli.own(folder)
        built = cli.run("build", "-t", "said", f"--isolation={isolation}", folder)
        assert built.returncode == 0, built.stderr
        assert cli.run("run", "--rm", f"--isolation={isolation}", "said", "cat", "/said").stdout == f"{shown} word\n"
