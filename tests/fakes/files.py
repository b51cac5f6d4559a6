"""A web server of a few files, which knows ETags."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.support.serving import serving


@dataclass
class FileServer:
    """`statuses` are answered first, one for each request; the log has the headers of each request and its answer."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    log: list[tuple[dict[str, str], int]] = field(default_factory=list)


@contextlib.contextmanager
def file_server() -> Iterator[FileServer]:
    """Serve on a loopback port until the block ends."""
    fake = FileServer()
    handler = type("Handler", (_Handler,), {"fake": fake})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    fake.address = f"http://127.0.0.1:{server.server_address[1]}"
    with serving(server):
        yield fake


class _Handler(http.server.BaseHTTPRequestHandler):
    fake: FileServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, data, headers = urlsplit(self.path).path, b"", {}
        if self.fake.statuses:
            status = self.fake.statuses.pop(0)
        elif path in self.fake.redirects:
            status, headers = 302, {"Location": self.fake.redirects[path]}
        elif path not in self.fake.files:
            status = 404
        else:
            data = self.fake.files[path]
            headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "Content-Type": "application/octet-stream"}
            status = 304 if self.headers.get("If-None-Match") == headers["ETag"] else 200
        self.fake.log.append((dict(self.headers), status))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        body = data if status == 200 else b""
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return None
