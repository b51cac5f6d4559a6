"""Real servers on loopback ports, started in a moment and ended with the test."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 20
PORTS = range(10_000, 32_000)  # below net.ipv4.ip_local_port_range
# before a server's words: it ends with the process of the tests, however that ends
TIED = ("setpriv", "--pdeathsig", "TERM", "--")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A running docker-registry; `host` is `127.0.0.1:PORT`."""

    host: str
    data: Path


def free_port() -> int:
    """A port nobody listens on at this moment, and that the kernel gives to no connection as its own end."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise AssertionError("a hundred ports are taken")


@contextlib.contextmanager
def running_registry(
    folder: Path,
    *,
    htpasswd: tuple[str, str] | None = None,
    certificate: tuple[Path, Path] | None = None,
    auth: str = "",
) -> Iterator[Registry]:
    """Start docker-registry with its data in `folder`; optionally with a user, or `auth` as its configuration has
    it, optionally over TLS.
    """
    port = free_port()
    lines = [
        "version: 0.1",
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}",
        "log: {level: error, accesslog: {disabled: true}}",
        "http:",
        f"  addr: 127.0.0.1:{port}",
    ]
    if certificate:
        lines.append(f"  tls: {{certificate: {certificate[0]}, key: {certificate[1]}}}")
    if htpasswd:
        done = subprocess.run(["htpasswd", "-nbB", *htpasswd], capture_output=True, text=True, check=True)
        (folder / "htpasswd").write_text(done.stdout)
        lines.append(f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}")
    lines += [f"auth: {auth}"] if auth else []
    (folder / "config.yml").write_text("\n".join(lines) + "\n")
    environ = {"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"}
    with serving(["docker-registry", "serve", str(folder / "config.yml")], port, folder / "log", environ):
        yield Registry(host=f"127.0.0.1:{port}", data=folder / "data")


@contextlib.contextmanager
def nginx_before(host: str, folder: Path, directives: str, *, port: int = 0, tls: bool = False) -> Iterator[str]:
    """nginx as people put it before a registry, with these directives of a server: yields its `127.0.0.1:PORT`."""
    port = port or free_port()
    temporary = "".join(f" {kind}_temp_path {folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off; error_log stderr; pid {folder}/nginx.pid; {'user root;' if os.getuid() == 0 else ''}"
        f"events {{}} http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{port}{' ssl' if tls else ''};"
        f" proxy_set_header Host $http_host; {directives} location / {{ proxy_pass http://{host}; }} }} }}\n"
    )
    argv = ["nginx", "-e", "stderr", "-c", str(folder / "nginx.conf")]
    with serving(argv, port, folder / "nginx.log"):
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def running_git(folder: Path, log: Path) -> Iterator[str]:
    """Serve the repositories in `folder`, whoever owns them: yields `git://127.0.0.1:PORT`."""
    port = free_port()
    options = ["--reuseaddr", "--listen=127.0.0.1", f"--port={port}", "--export-all", f"--base-path={folder}"]
    trust = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    with serving(["git", "daemon", *options, str(folder)], port, log, {**os.environ, **trust}):
        yield f"git://127.0.0.1:{port}"


@contextlib.contextmanager
def serving(
    argv: Sequence[str], port: int, log: Path, environ: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server that listens on `port`, until the end of the block or of the tests."""
    with log.open("wb") as sink:
        server = subprocess.Popen(
            [*TIED, *argv], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environ, start_new_session=True
        )
    with ended(server):
        wait_for_port(server, port, log)
        yield server


@contextlib.contextmanager
def ended(server: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a server with the block."""
    try:
        yield
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_for_port(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Until the server takes connections."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)
    raise AssertionError(f"{server.args!r} did not start: {log.read_text()}")


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key
