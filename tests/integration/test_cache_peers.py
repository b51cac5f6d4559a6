"""Builders that fetch layers from each other: the registry sends a layer about once, however many want it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Run, assert_nothing_left
from tests.faults import Proxy, faulty
from tests.servers import Registry, free_port

pytestmark = pytest.mark.userns
Make = Callable[..., Path]
LAYER_BYTES = 60 << 20
BUILDERS = 4
TOKEN = "hushhush"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> str:
    """An image with one large layer that does not compress, in the registry."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "blob").write_bytes(os.urandom(LAYER_BYTES))
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY blob /\n")
    name = f"{registry.host}/peers/large:1"
    on(folder / "state", "build", "-q", "-t", name, "--push", folder)
    return name


def on(root: Path, *words: str | Path, peers: str = "") -> subprocess.CompletedProcess[str]:
    with starting(root, *words, peers=peers) as process:
        _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    return subprocess.CompletedProcess(words, 0, "", errors)


def starting(root: Path, *words: str | Path, peers: str = "") -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "builder", "--root", str(root), *map(str, words)]
    env = {**os.environ, "TIFFIN_CACHE_TOKEN": TOKEN, "TIFFIN_CACHE_PEERS": peers}
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


@contextlib.contextmanager
def fleet(folder: Path, upstream: str) -> Iterator[tuple[list[Path], list[subprocess.Popen[str]], str]]:
    """State directories, each with a server; the servers; and the names of all as peers."""
    roots, servers, addresses = [], [], []
    try:
        for number in range(BUILDERS):
            roots.append(folder / f"state{number}")
            address = f"127.0.0.1:{free_port()}"
            servers.append(starting(roots[-1], "cache", "serve", "--listen", address, "--upstream", upstream))
            stdout = servers[-1].stdout
            assert stdout is not None and stdout.readline() == f"serving on http://{address}\n"
            addresses.append(f"http://{address}")
        yield roots, servers, " ".join(addresses)
    finally:
        for server in servers:
            server.send_signal(signal.SIGTERM)
        for server in servers:
            with server:
                server.communicate(timeout=20)


def through(proxy: Proxy, image: str) -> str:
    """The image by the address of the proxy."""
    return f"127.0.0.1:{proxy.port}/{image.split('/', 1)[1]}"


def test_the_registry_sends_a_layer_once(image: str, registry: Registry, tmp_path: Path) -> None:
    with faulty(int(registry.host.split(":")[1])) as proxy:
        name = through(proxy, image)
        with fleet(tmp_path, name.split("/")[0]) as (roots, _, peers):
            pulls = [starting(root, "pull", "-q", name, peers=peers) for root in roots]
            results = [(pull.communicate(timeout=100)[1], pull.returncode) for pull in pulls]
            assert [code for _, code in results] == [0] * BUILDERS, results
            assert "left out" not in "".join(text for text, _ in results)
        assert LAYER_BYTES <= proxy.sent_bytes < 1.3 * LAYER_BYTES
    for root in roots:
        assert any(path.stat().st_size > LAYER_BYTES for path in (root / "images/blobs/sha256").iterdir())
        assert_nothing_left(root)


def test_others_finish_when_a_peer_is_killed(image: str, registry: Registry, tmp_path: Path) -> None:
    """The peer responsible for the layer dies while it passes the layer on."""
    with faulty(int(registry.host.split(":")[1])) as proxy:
        proxy.mode, proxy.seconds = "delay", 0.005
        name = through(proxy, image)
        with fleet(tmp_path, name.split("/")[0]) as (roots, servers, peers):
            pulls = [starting(root, "pull", "-q", name, peers=peers) for root in roots]
            while not any(path.stat().st_size > 1 << 20 for root in roots for path in root.glob("tmp/blob-*/data")):
                assert any(pull.poll() is None for pull in pulls)
            busiest = max(
                range(BUILDERS),
                key=lambda number: len(os.listdir(f"/proc/{servers[number].pid}/task")),
            )
            servers[busiest].kill()
            proxy.mode = ""
            results = [(pull.communicate(timeout=100)[1], pull.returncode) for pull in pulls]
            assert [code for _, code in results] == [0] * BUILDERS, results
            assert "left out" in "".join(text for text, _ in results)
        assert proxy.sent_bytes < 3 * LAYER_BYTES
    for root in roots:
        assert any(path.stat().st_size > LAYER_BYTES for path in (root / "images/blobs/sha256").iterdir())


def test_strangers_get_nothing(image: str, registry: Registry, tmp_path: Path, tiffin: Run) -> None:
    """A peer fetches from the registries it was told of only, and answers nobody without its token."""
    with fleet(tmp_path, "registry.invalid") as (roots, _, peers):
        done = on(tmp_path / "other", "pull", image, peers=peers)
        assert "left out" not in done.stderr
        assert not any(path.stat().st_size > LAYER_BYTES for path in roots[0].glob("images/blobs/sha256/*"))
        argv = [sys.executable, "-m", "builder", "--root", str(tmp_path / "third"), "pull", image]
        env = {**os.environ, "TIFFIN_CACHE_PEERS": peers, "TIFFIN_CACHE_TOKEN": "wrong"}
        refused = subprocess.run(argv, capture_output=True, text=True, env=env, check=True)
        assert refused.stderr.count("is left out: GET was answered with 401") == BUILDERS
    wrong = tiffin("build", "--cache-peer", "ftp://u:hush@x", ".", check=False)
    assert wrong.returncode == 2 and "--cache-peer ftp://x is no peer" in wrong.stderr
