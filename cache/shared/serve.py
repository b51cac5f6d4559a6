"""Serve one state directory over HTTP, read-only: rows under /ac/, packed layers under /cas/ and as registry v2 blobs.

    GET /ac/HEX                  a step record, as --cache-from type=http reads it
    GET|HEAD /cas/HEX            a packed layer
    GET|HEAD /v2/REPOSITORY/blobs/DIGEST?ns=REGISTRY[&size=N]
                                 the same; one that is not here is fetched from REGISTRY once, and everybody who asks
                                 for it meanwhile waits

Nothing is ever written on a client's word: what comes from a registry is verified by its digest.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import re
import signal
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import BinaryIO, Protocol, cast
from urllib.parse import parse_qs, unquote, urlsplit

from tiffin.cache.backend import StepRecord
from tiffin.cache.errors import DigestError, StoreError, TiffinError
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES, Digest
from tiffin.cache.shared.signing import RecordSigner
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.local import LocalCache
from tiffin.cache.store.snapshots import BlobRef

_BLOB = re.compile(r"/v2/([a-z0-9._/-]+)/blobs/([a-z0-9]+:[0-9a-f]+)")
_SIZE = r"[0-9]{1,20}"
_HEX = re.compile(r"/(ac|cas)/([0-9a-f]{64})")
IDLE_SECONDS = 60
FOLLOW_SECONDS = 0.02  # between looks at a file that grows
MAX_FETCH_BYTES = 64 << 30


class Fetch(Protocol):
    """Brings a blob here from a repository of a registry; False where that is not allowed or failed.

    `begun` is told the file that grows meanwhile.
    """

    def __call__(self, ref: BlobRef, registry: str, repository: str, begun: Callable[[Path], None]) -> bool: ...


class InFlightBlob:
    """A blob on its way from a registry, for any number who want it."""

    def __init__(self) -> None:
        self.changed = threading.Condition()  # guards both below
        self._fd = -1
        self.is_over = False

    @property
    def has_begun(self) -> bool:
        """Whether there is something to follow."""
        return self._fd >= 0

    def begin(self, path: Path) -> None:
        """Open the file that grows; kept open as long as anybody follows, for it will be renamed."""
        with self.changed:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            weakref.finalize(self, os.close, self._fd)
            self.changed.notify_all()

    def end(self) -> None:
        """Note that nothing more comes, whether the blob is whole or not."""
        with self.changed:
            self.is_over = True
            self.changed.notify_all()

    def follow(self, size: int) -> Iterator[bytes]:
        """Yield the bytes as they come, `size` of them unless it breaks off."""
        with self.changed:
            self.changed.wait_for(lambda: self.has_begun or self.is_over)
        if not self.has_begun:
            return
        done = 0
        while done < size:
            was_over = self.is_over
            data = os.pread(self._fd, COPY_CHUNK_BYTES, done)
            if data:
                done += len(data)
                yield data
            elif was_over:
                return
            else:
                with self.changed:
                    self.changed.wait(FOLLOW_SECONDS)


class ServedCache:
    """What is offered."""

    def __init__(self, *, blobs: BlobStore, cache: LocalCache, signer: RecordSigner, fetch: Fetch) -> None:
        self._blobs = blobs
        self._cache = cache
        self._signer = signer
        self._fetch = fetch
        self._lock = threading.Lock()  # guards the next
        self._in_flight: dict[Digest, InFlightBlob] = {}

    def row(self, name: str) -> bytes | None:
        """Return a signed record whose layer is here packed."""
        found: StepRecord | None = self._cache.get_many([Digest("sha256", name)]).get(Digest("sha256", name))
        if found is None or found.layer is None or not self._blobs.has(found.layer.digest):
            return None
        return self._signer.sign(name, found.encode())

    def size(self, digest: Digest) -> int | None:
        """Return bytes of a blob that is here."""
        return self._blobs.size(digest)

    def bring(self, digest: Digest, size: int, registry: str, repository: str) -> InFlightBlob | None:
        """Return a blob that is not here, on its way from a registry, once for all who want it; None where it may not
        be fetched, or has come since the caller looked.
        """
        with self._lock:
            in_flight = self._in_flight.get(digest)
            if in_flight is None and self._blobs.has(digest):
                return None  # it came since the caller looked
            if in_flight is None:
                in_flight = self._in_flight[digest] = InFlightBlob()
                ref = BlobRef(media_type="application/octet-stream", digest=digest, size_bytes=size)
                arguments = (in_flight, ref, registry, repository)
                threading.Thread(target=self._flow, args=arguments, name="inflow", daemon=True).start()
        with in_flight.changed:
            in_flight.changed.wait_for(lambda: in_flight.has_begun or in_flight.is_over)
        return in_flight if in_flight.has_begun else None

    def _flow(self, in_flight: InFlightBlob, ref: BlobRef, registry: str, repository: str) -> None:
        try:
            self._fetch(ref, registry, repository, in_flight.begin)
        finally:
            with self._lock:
                self._in_flight.pop(ref.digest, None)
            in_flight.end()

    def open(self, digest: Digest) -> BinaryIO:
        """Return the bytes of a blob."""
        return cast(BinaryIO, self._blobs.path(digest).open("rb", buffering=0))


def serve(served_cache: ServedCache, host: str, port: int, token: str, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is told the address. Raises StoreError where it cannot listen."""

    class Handler(_Handler):
        pass

    Handler.served_cache, Handler.token = served_cache, token
    server_class = _Server6 if ":" in host else _Server
    try:
        server = server_class((host, port), Handler)
    except OSError as exc:
        raise StoreError(f"cannot listen on {host}:{port}: {exc.strerror}", remedy="use another --listen") from exc

    def end(number: int, frame: FrameType | None) -> None:
        threading.Thread(target=server.shutdown, daemon=True).start()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    with server:
        ready(f"http://{host}:{server.server_port}")
        server.serve_forever(poll_interval=0.1)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a client that went away."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    served_cache: ServedCache
    token = ""
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        if not self._is_allowed():
            self._answer(401, b"", {"WWW-Authenticate": "Bearer"})
            return
        try:
            parts = urlsplit(self.path)
        except ValueError:  # brackets around what is not a valid address
            self._answer(400, b"", {})
            return
        if parts.path in ("/v2", "/v2/"):
            self._answer(200, b"{}", {})
        elif match := _HEX.fullmatch(parts.path):
            self._row(match[2]) if match[1] == "ac" else self._blob(Digest("sha256", match[2]))
        elif match := _BLOB.fullmatch(unquote(parts.path)):
            self._v2_blob(match[1], match[2], parse_qs(parts.query))
        else:
            self._answer(404, b"", {})

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        return None

    def _is_allowed(self) -> bool:
        if not self.token:
            return True
        given = self.headers.get("Authorization", "")
        return hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode())

    def _row(self, name: str) -> None:
        try:
            row = self.served_cache.row(name)
        except TiffinError:
            row = None
        self._answer(404 if row is None else 200, row or b"", {})

    def _v2_blob(self, repository: str, text: str, query: dict[str, list[str]]) -> None:
        try:
            digest = Digest.parse(text)
        except DigestError:
            self._answer(400, b"", {})
            return
        registry, size = query.get("ns", [""])[0], query.get("size", [""])[0]
        if self.served_cache.size(digest) is None and self.command == "GET" and registry and re.fullmatch(_SIZE, size):
            length = min(int(size), MAX_FETCH_BYTES)
            in_flight = self.served_cache.bring(digest, length, registry, repository)
            if in_flight is not None and self.served_cache.size(digest) is None:
                self._follow(in_flight, digest, length)
                return
        self._blob(digest)

    def _follow(self, in_flight: InFlightBlob, digest: Digest, size: int) -> None:
        """Pass on what comes; what breaks off is cut, and the client sees that it is short."""
        self._begin_blob(digest, size)
        sent = 0
        try:
            for data in in_flight.follow(size):
                self.wfile.write(data)
                sent += len(data)
        except OSError:
            sent = -1  # the client is gone
        self.close_connection = sent != size

    def _blob(self, digest: Digest) -> None:
        size = self.served_cache.size(digest)
        if size is None:
            self._answer(404, b"", {})
            return
        self._begin_blob(digest, size)
        if self.command == "GET":
            with contextlib.suppress(OSError), self.served_cache.open(digest) as stream:
                self.wfile.flush()
                self.connection.sendfile(stream)

    def _begin_blob(self, digest: Digest, size: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Docker-Content-Digest", str(digest))
        self.end_headers()

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
