"""Mirrors, other places, blocked names and proxies, with real servers."""

from __future__ import annotations

import http.server
import json
import os
import socket
import socketserver
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.fakes.registry import fake_registry
from tests.support.servers import Registry
from tests.support.serving import serving

pytestmark = pytest.mark.network
Make = Callable[..., Path]


@pytest.fixture
def mirrored(tiffin: Run, context: Make, registry: Registry) -> str:
    """What a mirror has of docker.io: team/mirrored:1. Nothing of it is here."""
    tiffin(
        "build",
        "-q",
        "-t",
        f"{registry.host}/hub/team/mirrored:1",
        "--push",
        context("FROM scratch\nCOPY f /f\n", f="1"),
    )
    tiffin("system", "reset", "-f")
    return f"{registry.host}/hub"


def configured(tmp_path: Path, text: str) -> dict[str, str]:
    (tmp_path / "registries.conf").write_text(text)
    return {**os.environ, "CONTAINERS_REGISTRIES_CONF": str(tmp_path / "registries.conf")}


def test_images_come_from_mirrors(tiffin: Run, context: Make, mirrored: str, tmp_path: Path) -> None:
    """The first is dead, the second has nothing, the third has it; the name stays docker.io's."""
    with fake_registry() as empty:
        mirrors = ("127.0.0.1:1", empty.host, mirrored)
        text = '[[registry]]\nlocation = "docker.io"\n' + "".join(
            f'[[registry.mirror]]\nlocation = "{place}"\n' for place in mirrors
        )
        env = configured(tmp_path, text)
        done = tiffin("build", "-t", "app", context("FROM team/mirrored:1\nCOPY g /g\n", g="1"), env=env)
        assert (
            "mirror 127.0.0.1:1/team/mirrored: " in done.stderr
            and f"mirror {empty.host}/team/mirrored: " in done.stderr
        )
        tiffin("pull", "-q", "team/mirrored:1", env=env)
        assert "team/mirrored" in tiffin("images", "--format", "{{.Repository}}").stdout.split()
        assert tiffin("save", "app", "-o", tmp_path / "saved", env=env).returncode == 0, "its layers came, too"


def test_mirrors_by_flag_and_places_by_prefix(tiffin: Run, context: Make, mirrored: str, tmp_path: Path) -> None:
    tiffin("pull", "-q", "--registry-mirror", f"http://{mirrored}", "team/mirrored:1")
    moved = (
        f'[[registry]]\nprefix = "*.old.example"\nlocation = "{mirrored}"\n[aliases]\n'
        'short = "x.old.example/team/mirrored"\n'
    )
    env = configured(tmp_path, moved)
    for name in ("x.old.example/team/mirrored:1", "short:1"):
        tiffin("build", context(f"FROM {name}\nCOPY g /g\n", g=name), env=env)
    blocked = configured(tmp_path, '[[registry]]\nlocation = "docker.io"\nblocked = true\n')
    done = tiffin("pull", "team/other:1", env=blocked, check=False)
    assert done.returncode == 1 and 'images of "docker.io" are blocked' in done.stderr


@pytest.mark.userns
@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    ],
)
def test_layers_that_may_not_be_distributed_run(tiffin: Run, base: str, media_type: str) -> None:
    with fake_registry() as fake:
        tiffin("push", "-q", base, f"{fake.host}/base:1")
        data, kind = fake.manifests["1"]
        document = json.loads(data)
        document["layers"][0] |= {"mediaType": media_type, "urls": ["https://example.invalid/layer"]}
        fake.manifests["1"] = (json.dumps(document).encode(), kind)
        tiffin("system", "reset", "-f")
        assert tiffin("run", "--rm", f"{fake.host}/base:1", "echo", "it runs").stdout == "it runs\n"


class _Socks(socketserver.StreamRequestHandler):
    """SOCKS 5 that takes anyone and leads every name to one server (RFC 1928)."""

    def handle(self) -> None:
        self.rfile.read(self.rfile.read(2)[1])
        self.wfile.write(b"\5\0")
        kind = self.rfile.read(4)[3]
        self.rfile.read((self.rfile.read(1)[0] if kind == 3 else 4) + 2)
        self.wfile.write(b"\5\0\0\1\0\0\0\0\0\0")
        with socket.create_connection(self.server.target) as server:  # type: ignore[attr-defined]
            server.sendall(self.connection.recv(1 << 16))
            while data := server.recv(1 << 16):
                self.connection.sendall(data)


def test_socks(tiffin: Run, context: Make, proxy: http.server.ThreadingHTTPServer) -> None:
    folder = context("FROM scratch\nADD http://files.example/f /\n")
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Socks)
    server.daemon_threads = True
    server.target = ("127.0.0.1", proxy.server_port)  # type: ignore[attr-defined]
    with serving(server):
        env = {**os.environ, "ALL_PROXY": f"socks5h://127.0.0.1:{server.server_address[1]}"}
        tiffin("build", folder, env=env)
        assert proxy.asked == ["/f"]  # type: ignore[attr-defined]


class _Proxy(http.server.BaseHTTPRequestHandler):
    """A proxy for plain http, that wants a password if the server has one."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        wanted = self.server.password  # type: ignore[attr-defined]
        if wanted and self.headers.get("Proxy-Authorization") != wanted:
            self.send_response(407)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = b"through the proxy"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def proxy() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
    server.asked, server.password = [], ""  # type: ignore[attr-defined]
    with serving(server):
        yield server


def test_proxies(tiffin: Run, context: Make, proxy: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    folder = context("FROM scratch\nADD http://files.example/f /\n")
    place = f"127.0.0.1:{proxy.server_port}"
    plain = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    tiffin("build", folder, env={**plain, "HTTP_PROXY": f"http://{place}"})
    assert proxy.asked == ["http://files.example/f"]  # type: ignore[attr-defined]
    (tmp_path / "config.json").write_text(f'{{"proxies": {{"default": {{"httpProxy": "http://{place}"}}}}}}')
    tiffin("build", folder, env={**plain, "DOCKER_CONFIG": str(tmp_path)})
    assert len(proxy.asked) == 2, "config.json's"  # type: ignore[attr-defined]
    proxy.password = "Basic never"  # type: ignore[attr-defined]
    done = tiffin("build", folder, env={**plain, "HTTP_PROXY": f"http://me:s3cret@{place}"}, check=False)
    assert f"the proxy {place} wants a user and a password" in done.stderr and "s3cret" not in done.stderr
    done = tiffin("build", folder, env={**plain, "HTTP_PROXY": "http://127.0.0.1:1"}, check=False)
    assert "the proxy 127.0.0.1:1 refused the connection" in done.stderr
