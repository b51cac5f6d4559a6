"""Shared caches that refuse, hang, break off, lie, or fill up: the image is right all the same, and soon enough."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cache_servers import BUCKET, S3_OPTIONS, CacheServer, running_nginx, running_redis, running_s3
from tests.conftest import Run, assert_nothing_left
from tests.faults import faulty
from tests.servers import Registry

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
GIVE_UP = 2  # seconds, timeout= of the caches here
PATIENCE = 30  # seconds; more than any number of GIVE_UPs that a build may take


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, CacheServer]]:
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(start(tmp_path_factory.mktemp(name)))
            for name, start in (("redis", running_redis), ("http", running_nginx), ("s3", running_s3))
        }


def build(root: Path, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "builder", "--root", str(root), "build", "--progress", "plain", *map(str, words)]
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
    "drip": "drip",
    "status 500": "HTTP/1.1 500 Broken",
    "status 429": "HTTP/1.1 429 Slow Down\r\nRetry-After: 1",
    "status 507": "HTTP/1.1 507 Full",
    "nonsense": "HTTP/1.1 200 OK\r\nContent-Type: text/html",
}


@pytest.mark.parametrize("kind", ["registry", "redis", "http", "s3"])
@pytest.mark.parametrize("fault", list(FAULTS))
def test_right_image_whatever_the_cache_does(
    root: Path, context: Make, base: str, tiffin: Run, servers: dict[str, CacheServer], registry: Registry,
    tmp_path: Path, kind: str, fault: str,
) -> None:  # fmt: skip
    port = int(registry.host.split(":")[1]) if kind == "registry" else servers[kind].port
    name = tmp_path.name.lower()[-40:].strip("_-.").replace("_", "-")
    folder = context(TEXT.format(base=base, salt=tmp_path), src="1\n")
    build(root, "--cache-to", option(kind, port, name), folder)
    image = tmp_path / "base.tar"
    tiffin("save", "-o", str(image), base)
    other = tmp_path / "b"
    subprocess.run([sys.executable, "-m", "builder", "--root", other, "load", "-q", "-i", image], check=True)
    (folder / "src").write_text("2\n")
    with faulty(port) as proxy:
        proxy.mode, proxy.after = FAULTS[fault], 2000
        place = option(kind, proxy.port, name)
        done = build(other, "--cache-from", place, "--cache-to", place, "-t", "app", folder)
        assert proxy.connections > 0 and "warning: " in done.stderr
    run = [sys.executable, "-m", "builder", "--root", str(other), "run", "--rm", "app"]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == f"{tmp_path}\n2\n"
    assert_nothing_left(other)


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
        f"FROM {base}\nRUN echo a > /a\nRUN while [ ! -e /signal/go ]; do sleep 0.05; done; echo b > /b\nRUN echo c > /c\n"
        .replace("RUN while", "RUN --mount=type=bind,target=/signal,from=signal while")
    )  # fmt: skip
    (tmp_path / "signal").mkdir()
    with running_redis(tmp_path / "redis") as server:
        place = f"{server.url},mode=max,timeout={GIVE_UP}"
        argv = [
            *(sys.executable, "-m", "builder", "--root", str(root), "build", "--progress", "plain"),
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
    argv = [sys.executable, "-m", "builder", "--root", str(root), "build", "--cache-to", place, str(folder)]
    limited = ["sh", "-c", 'trap "" XFSZ; ulimit -f 200; exec "$@"', "sh", *argv]
    done = subprocess.run(limited, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0 and "was not filled" in done.stderr, done.stderr
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.name.startswith(".")]
    assert left == []
    for path in (tmp_path / "cache/records").glob("*/*"):
        layer = json.loads(path.read_text())["layer"]
        blob = tmp_path / "cache/blobs/sha256" / layer["digest"].removeprefix("sha256:")
        assert blob.stat().st_size == layer["size"], "a record without its layer"


def test_many_builders_on_one_cache(root: Path, context: Make, base: str, tiffin: Run, tmp_path: Path) -> None:
    """Four state directories fill and use one directory at once; two of them are killed."""
    image = tmp_path / "base.tar"
    tiffin("save", "-o", str(image), base)
    folder = context(TEXT.format(base=base, salt="many"), src="1\n")
    place = f"type=dir,path={tmp_path}/cache,mode=max"
    running = []
    for number in range(4):
        state = tmp_path / f"state{number}"
        subprocess.run([sys.executable, "-m", "builder", "--root", state, "load", "-q", "-i", image], check=True)
        argv = [
            sys.executable,
            "-m",
            "builder",
            "--root",
            str(state),
            "build",
            "--cache-from",
            place,
            "--cache-to",
            place,
        ]
        running.append(subprocess.Popen([*argv, str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    time.sleep(0.5)
    for victim in running[:2]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGKILL)
    assert [process.wait(PATIENCE) for process in running][2:] == [0, 0]
    done = build(tmp_path / "state0", "--cache-from", place, "-t", "app", folder)
    assert "lost layer" not in done.stderr
    run = [sys.executable, "-m", "builder", "--root", str(tmp_path / "state0"), "run", "--rm", "app"]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "many\n1\n"
