"""A registry that stops to answer in the middle of a blob does not hold a command that a signal ends."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.support.cli_runner import CliRunner

pytestmark = pytest.mark.userns
BEGIN_SECONDS = 60
END_SECONDS = 20  # a wait for the registry would take sixty
LAYER_BYTES = 5_000_000
CONFIG = json.dumps(
    {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [f"sha256:{'1' * 64}"]}}
).encode()
CONFIG_DIGEST = f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": CONFIG_DIGEST,
            "size": len(CONFIG),
        },
        "layers": [
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": f"sha256:{'2' * 64}",
                "size": LAYER_BYTES,
            }
        ],
    }
).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalled:
    """`has_stopped` says that it was asked for a layer, or given one, and answers no more; `over` ends that."""

    host: str
    has_stopped: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)


@contextmanager
def stalled_registry() -> Iterator[Stalled]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status: int, data: bytes = b"", length: int | None = None, **headers: str) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data) if length is None else length)}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(data)

        def do_HEAD(self) -> None:
            self.answer(404)

        def do_GET(self) -> None:
            if "/manifests/" in self.path:
                self.answer(200, MANIFEST, Content_Type=MANIFEST_TYPE)
            elif CONFIG_DIGEST in self.path:
                self.answer(200, CONFIG)
            elif "/blobs/" in self.path:
                self.answer(200, bytes(1000), LAYER_BYTES)
                self.stop()
            else:
                self.answer(200)

        def do_POST(self) -> None:
            self.answer(202, Location="/v2/app/blobs/uploads/1", Range="0-0")

        def do_PUT(self) -> None:
            self.stop()

        do_PATCH = do_PUT

        def stop(self) -> None:
            made.has_stopped.set()
            made.over.wait()
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """It tells nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = Stalled(host=f"127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield made
        finally:
            made.over.set()
            server.shutdown()
            thread.join()


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", ["push", "build --push", "pull", "run", "base of RUN", "base of COPY"])
def test_a_signal_ends_what_waits_for_a_registry(cli: CliRunner, number: signal.Signals, kind: str) -> None:
    folder = cli.folder / "stalled"
    folder.mkdir(exist_ok=True)
    (folder / "large").write_bytes(os.urandom(LAYER_BYTES))
    with stalled_registry() as registry:
        image = f"{registry.host}/app:1"
        texts = {"base of RUN": f"FROM {image}\nRUN true\n", "base of COPY": f"FROM {image}\nCOPY large /\n"}
        (folder / "Dockerfile").write_text(texts.get(kind, "FROM scratch\nCOPY large /\n"))
        cli.own(folder)
        lines: dict[str, list[object]] = {
            "push": ["push", image],
            "build --push": ["build", "-q", "--push", "-t", image, folder],
            "pull": ["pull", image],
            "run": ["run", "--rm", image, "true"],
        }
        if kind == "push":
            assert cli.run("build", "-q", "-t", image, folder).returncode == 0
        words = [word if isinstance(word, str) else folder for word in lines.get(kind, ["build", "-q", folder])]
        process = cli.start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert registry.has_stopped.wait(BEGIN_SECONDS), process.communicate()
        began = time.monotonic()
        process.send_signal(number)
        _, errors = process.communicate(timeout=BEGIN_SECONDS * 2)
        assert process.returncode == 128 + number, errors
        assert time.monotonic() - began < END_SECONDS
