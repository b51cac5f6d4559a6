"""Builders on hosts of their own that fetch layers from each other: the registry sends a layer about once, however
many want it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Run, assert_nothing_left
from tests.support.faults import Proxy, faulty
from tests.support.hosts import Host, Network, network_of
from tests.support.servers import TIED, Registry

pytestmark = [
    pytest.mark.userns,
    pytest.mark.network,
    pytest.mark.skipif(os.getuid() != 0, reason="only root makes network namespaces"),
]
Make = Callable[..., Path]
LAYER_BYTES = int(os.environ.get("TIFFIN_PEER_LAYER_MIB", "60")) << 20
PORT = 5050
PATIENCE = 300
LOG = logging.getLogger(__name__)  # --log-cli-level=INFO shows figures
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


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with network_of(BUILDERS) as made:
        yield made


def on(root: Path, *words: str | Path, peers: str = "", host: Host | None = None) -> subprocess.CompletedProcess[str]:
    with starting(root, *words, peers=peers, host=host) as process:
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    return subprocess.CompletedProcess(words, 0, "", errors)


def starting(
    root: Path, *words: str | Path, peers: str = "", host: Host | None = None, token: str = TOKEN
) -> subprocess.Popen[str]:
    """tiffin, on a host of its own."""
    argv = [
        *TIED,
        *(host.prefix if host else ()),
        sys.executable,
        "-m",
        "builder",
        "--root",
        str(root),
        *map(str, words),
    ]
    env = {**os.environ, "TIFFIN_CACHE_TOKEN": token, "TIFFIN_CACHE_PEERS": peers}
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


@contextlib.contextmanager
def fleet(
    folder: Path, network: Network, upstream: str
) -> Iterator[tuple[list[Path], list[subprocess.Popen[str]], str]]:
    """A state directory with a server on each host; the servers; and the names of all as peers."""
    roots, servers, addresses = [], [], []
    try:
        for number, host in enumerate(network.hosts):
            roots.append(folder / f"state{number}")
            words = ("cache", "serve", "--listen", f"0.0.0.0:{PORT}", "--upstream", upstream)
            servers.append(starting(roots[-1], *words, "--insecure-registry", upstream, host=host))
            stdout = servers[-1].stdout
            assert stdout is not None and stdout.readline() == f"serving on http://0.0.0.0:{PORT}\n"
            addresses.append(f"http://{host.address}:{PORT}")
        yield roots, servers, " ".join(addresses)
    finally:
        for server in servers:
            server.send_signal(signal.SIGTERM)
        for server in servers:
            with server:
                server.communicate(timeout=20)


def pulls_of(roots: list[Path], network: Network, name: str, peers: str) -> list[subprocess.Popen[str]]:
    """Every host pulls at once."""
    words = ("pull", "-q", "--insecure-registry", name.split("/")[0], name)
    return [starting(root, *words, peers=peers, host=host) for root, host in zip(roots, network.hosts, strict=True)]


def arriving_bytes(root: Path) -> int:
    """Of the largest blob that is on its way to a state directory; what has arrived meanwhile is none."""
    sizes = [0]
    for path in root.glob("tmp/blob-*/data"):
        with contextlib.suppress(FileNotFoundError):
            sizes.append(path.stat().st_size)
    return max(sizes)


def through(proxy: Proxy, network: Network, image: str) -> str:
    """The image by the address of the proxy."""
    return f"{network.gateway}:{proxy.port}/{image.split('/', 1)[1]}"


def test_the_registry_sends_a_layer_once(image: str, registry: Registry, network: Network, tmp_path: Path) -> None:
    with faulty(int(registry.host.split(":")[1]), network.gateway) as proxy:
        name = through(proxy, network, image)
        with fleet(tmp_path, network, name.split("/")[0]) as (roots, _, peers):
            pulls = pulls_of(roots, network, name, peers)
            results = [(pull.communicate(timeout=PATIENCE)[1], pull.returncode) for pull in pulls]
            assert [code for _, code in results] == [0] * BUILDERS, results
            assert "left out" not in "".join(text for text, _ in results)
        assert LAYER_BYTES <= proxy.sent_bytes < 1.3 * LAYER_BYTES
        LOG.info("the registry sent %.3f layers", proxy.sent_bytes / LAYER_BYTES)
    for root in roots:
        assert any(path.stat().st_size > LAYER_BYTES for path in (root / "images/blobs/sha256").iterdir())
        assert_nothing_left(root)


def test_others_finish_when_a_peer_is_killed(image: str, registry: Registry, network: Network, tmp_path: Path) -> None:
    """The peer responsible for the layer dies while it passes the layer on."""
    with faulty(int(registry.host.split(":")[1]), network.gateway) as proxy:
        proxy.mode, proxy.seconds = "slow", 0.005
        name = through(proxy, network, image)
        with fleet(tmp_path, network, name.split("/")[0]) as (roots, servers, peers):
            pulls = pulls_of(roots, network, name, peers)
            while max(map(arriving_bytes, roots)) <= 1 << 20:
                assert any(pull.poll() is None for pull in pulls)
                time.sleep(0.01)
            busiest = max(
                range(BUILDERS),
                key=lambda number: len(os.listdir(f"/proc/{servers[number].pid}/task")),
            )
            servers[busiest].kill()
            proxy.mode = ""
            results = [(pull.communicate(timeout=PATIENCE)[1], pull.returncode) for pull in pulls]
            assert [code for _, code in results] == [0] * BUILDERS, results
            assert "left out" in "".join(text for text, _ in results)
        assert proxy.sent_bytes < 3 * LAYER_BYTES
        LOG.info("the registry sent %.3f layers", proxy.sent_bytes / LAYER_BYTES)
    for root in roots:
        assert any(path.stat().st_size > LAYER_BYTES for path in (root / "images/blobs/sha256").iterdir())


def test_strangers_get_nothing(image: str, registry: Registry, network: Network, tmp_path: Path, tiffin: Run) -> None:
    """A peer fetches from the registries it was told of only, and answers nobody without its token."""
    with fleet(tmp_path, network, "registry.invalid") as (roots, _, peers):
        done = on(tmp_path / "other", "pull", image, peers=peers)
        assert "left out" not in done.stderr
        assert not any(path.stat().st_size > LAYER_BYTES for path in roots[0].glob("images/blobs/sha256/*"))
        refused = starting(tmp_path / "third", "pull", image, peers=peers, token="wrong")
        assert refused.communicate(timeout=PATIENCE)[1].count("is left out: GET was answered with 401") == BUILDERS
    wrong = tiffin("build", "--cache-peer", "ftp://u:hush@x", ".", check=False)
    assert wrong.returncode == 2 and "--cache-peer x is not a valid peer" in wrong.stderr
