"""Redis as fleets have it: a cluster, behind Sentinel, over TLS, with rows that expire."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.conftest import assert_nothing_left
from tests.support.cache_servers import CacheServer, running_redis
from tests.support.servers import free_port, make_certificate, serving

pytestmark = pytest.mark.network
Make = Callable[..., Path]
SLOTS = 16384
READY_SECONDS = 30
TEXT = "FROM scratch\nCOPY a /a\nCOPY b /b\nCOPY c /c\n"


def build(root: Path, folder: Path, *words: str) -> str:
    argv = [sys.executable, "-m", "tiffin", "--root", str(root), "build", "--progress", "plain", *words, str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return done.stderr


def assert_shared(context: Make, tmp_path: Path, place: str) -> None:
    """One builder fills it, another needs to make nothing."""
    folder = context(TEXT, a="1", b="2", c="3")
    reported = build(tmp_path / "a", folder, "--cache-to", f"{place},mode=max")
    assert "shared 3 layers" in reported and "warning" not in reported, reported
    reported = build(tmp_path / "b", folder, "--cache-from", place)
    assert reported.count("CACHED (redis)") == 3 and "warning" not in reported, reported
    assert_nothing_left(tmp_path / "b")


def until(is_ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not is_ready():
        assert time.monotonic() < deadline, "it did not become ready"
        time.sleep(0.05)


@contextlib.contextmanager
def cluster(folder: Path, count: int = 3) -> Iterator[list[CacheServer]]:
    """Nodes that have the slots between them."""
    with contextlib.ExitStack() as stack:
        nodes = []
        for number in range(count):
            place = folder / f"node{number}"
            place.mkdir()
            bus = str(free_port())
            words = ("--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "2000")
            nodes.append((stack.enter_context(running_redis(place, *words)), int(bus)))
        clients = [redis.Redis(port=node.port) for node, _ in nodes]
        share = SLOTS // count
        for number, client in enumerate(clients):
            stack.callback(client.close)
            last = SLOTS - 1 if number == count - 1 else (number + 1) * share - 1
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", number * share, last)
            for node, port in nodes[:number]:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, port)
        until(lambda: all(b"cluster_state:ok" in _info(client) for client in clients))
        yield [node for node, _ in nodes]


def _info(client: redis.Redis) -> bytes:
    text = client.execute_command("CLUSTER", "INFO")
    data = text if isinstance(text, bytes) else "\n".join(f"{name}:{value}" for name, value in text.items()).encode()
    return data if b"cluster_known_nodes:3" in data else b""


def test_cluster(context: Make, tmp_path: Path) -> None:
    with cluster(tmp_path) as nodes:
        assert_shared(context, tmp_path, f"type=redis,url=redis+cluster://127.0.0.1:{nodes[0].port},timeout=30")
        sizes = []
        for node in nodes:
            with contextlib.closing(redis.Redis(port=node.port)) as client:
                sizes.append(client.dbsize())
        assert sum(sizes) == 9 and max(sizes) < 9, "three layers, three steps by two keys each, on several nodes"


def test_sentinel(context: Make, tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    with running_redis(tmp_path / "redis", "--requirepass", "hushhush") as master:
        port = free_port()
        conf = tmp_path / "sentinel.conf"
        conf.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nsentinel monitor caches 127.0.0.1 {master.port} 1\n"
            "sentinel auth-pass caches hushhush\n"
        )
        with serving(["redis-server", str(conf), "--sentinel"], port, tmp_path / "log"):
            url = f"redis+sentinel://:hushhush@127.0.0.1:9,127.0.0.1:{port}/caches/3"
            assert_shared(context, tmp_path, f'type=redis,"url={url}",timeout=30')
        with contextlib.closing(redis.Redis(port=master.port, db=3, password="hushhush")) as client:
            assert client.dbsize() == 9


def test_tls(context: Make, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    port = free_port()
    tls = ("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    (tmp_path / "redis").mkdir()
    with running_redis(tmp_path / "redis", *tls, "--tls-auth-clients", "no") as _:
        url = f"rediss://127.0.0.1:{port}/0"
        assert_shared(context, tmp_path, f"type=redis,url={url}?ssl_ca_certs={certificate},timeout=30")
        folder = context(TEXT, a="1", b="2", c="3")
        assert "connection failed" in build(tmp_path / "c", folder, "--cache-from", f"type=redis,url={url}")


def test_rows_expire(context: Make, tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    with running_redis(tmp_path / "redis") as server:
        folder = context(TEXT, a="1", b="2", c="3")
        build(tmp_path / "a", folder, "--cache-to", f"type=redis,url={server.url},ttl=2h,mode=max")
        with contextlib.closing(redis.Redis(port=server.port)) as client:
            lives = [client.ttl(name) for name in client.scan_iter()]
        assert len(lives) == 9 and all(0 < life <= 7200 for life in lives)


@pytest.mark.parametrize("kind", ["dir", "registry"])
def test_others_expire(context: Make, tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    """What nobody wrote for the time to live goes when the cache is filled again."""
    if kind == "registry":
        host = request.getfixturevalue("registry").host
        place = f"type=registry,ref={host}/expire/cache:{os.urandom(4).hex()},mode=max"
    else:
        place = f"type=dir,path={tmp_path}/cache,mode=max"
    folder = context(TEXT, a="1", b="2", c="3")
    build(tmp_path / "a", folder, "--cache-to", place)
    time.sleep(1.2)
    (folder / "a").write_text("other")
    build(tmp_path / "a", folder, "--cache-to", f"{place},ttl=1s")
    (folder / "a").write_text("1")
    reported = build(tmp_path / "b", folder, "--cache-from", place.removesuffix(",mode=max"))
    assert reported.count(" DONE ") == 3, "the first ones are gone"
    (folder / "a").write_text("other")
    reported = build(tmp_path / "c", folder, "--cache-from", place.removesuffix(",mode=max"))
    assert " DONE " not in reported, "the new ones stayed"
