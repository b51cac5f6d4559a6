"""A web server that keeps what is PUT, as nginx with WebDAV and the simple parts of S3 and of Azure's blobs do."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.support.serving import serving


@dataclass
class WebStore:
    """`statuses` are answered first, one for each request; with a `token` others are answered 401."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    retry_after: str = ""
    token: str = ""
    log: list[tuple[str, str]] = field(default_factory=list)


@contextlib.contextmanager
def web_store() -> Iterator[WebStore]:
    """Serve on a loopback port until the block ends."""
    fake = WebStore()
    handler = type("Handler", (_Handler,), {"fake": fake})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    fake.address = f"http://127.0.0.1:{server.server_address[1]}"
    with serving(server):
        yield fake


class _Handler(http.server.BaseHTTPRequestHandler):
    fake: WebStore
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        data = self.fake.files.get(self._begin())
        asked = self.headers.get("x-ms-range", "")  # Azure's
        if data and asked:
            start, end = (int(text) for text in asked.removeprefix("bytes=").split("-"))
            part = data[start : end + 1]
            return self._end(206, part, content_range=f"bytes {start}-{start + len(part) - 1}/{len(data)}")
        return self._end(404 if data is None else 200, data or b"")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self._begin()
        if not self._refused():
            self.fake.files[path] = body
        self._end(201 if "x-amz-date" not in self.headers else 200, b"", hashlib.md5(body).hexdigest())

    def _begin(self) -> str:
        path = urlsplit(self.path).path
        self.fake.log.append((self.command, path))
        return path

    def _refused(self) -> int:
        if self.fake.statuses:
            return self.fake.statuses[0]
        wanted = f"Bearer {self.fake.token}"
        return 401 if self.fake.token and self.headers.get("Authorization") != wanted else 0

    def _end(self, status: int, data: bytes, tag: str = "", content_range: str = "") -> None:
        refused = self._refused()
        if self.fake.statuses:
            self.fake.statuses.pop(0)
        self.send_response(refused or status)
        if refused and self.fake.retry_after:
            self.send_header("Retry-After", self.fake.retry_after)
        if content_range:
            self.send_header("Content-Range", content_range)
        if tag:
            self.send_header("ETag", f'"{tag}"')
        body = b"" if refused else data
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):  # who has read enough is gone
                self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return None
