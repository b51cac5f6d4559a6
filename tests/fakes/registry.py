"""A registry in a thread, speaking enough of the distribution spec to misbehave in every way a test wants."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.support.serving import serving

USER, PASSWORD, TOKEN = "cook", "s3cret-word", "t0ken-word"

INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass(slots=True)
class Fake:
    """The server's state and its switches."""

    host: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    begun: int = 0  # uploads
    log: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, Authorization
    auth: str = ""  # "basic", "bearer"
    password: str = PASSWORD
    token: str = TOKEN  # the one that is taken now
    realm: str = ""  # of bearer; its own by default
    headers: dict[str, dict[str, str]] = field(default_factory=dict)  # more headers of a manifest, by its tag
    fail: list[int] = field(default_factory=list)  # statuses for the next answers to anything
    retry_after: str = "0"
    certificate: tuple[Path, Path] | None = None  # and its key: it speaks TLS
    client_authority: Path | None = None  # who vouches for its clients: it wants a certificate of theirs
    address: str = "127.0.0.1"  # where it listens
    upload_at: str = ""  # uploads go to this origin
    tags: list[str] = field(default_factory=list)
    link: str = ""  # a list of tags goes on there
    token_answer: bytes = b""  # instead of a token
    redirect_to: str = ""  # blobs are at this origin
    cut_after: list[int] = field(default_factory=list)  # the next blob answers end after so many bytes
    keep: list[int] = field(default_factory=list)  # so much of the next bodies of uploads arrives, and no answer leaves
    ranges: bool = True
    refuse_large: bool = False  # a PUT with a body gets 413
    refuses: bool = False  # connections are closed before an answer
    max_body: int = 0  # a larger body gets 413, and is not read
    reads_refused: bool = True  # it is, though
    slow_puts: list[float | None] = field(
        default_factory=list
    )  # the next blobs are there so many seconds after they came, or never
    hides_slow: int = 0  # the status that a proxy answers meanwhile
    sent: list[int] = field(default_factory=list)  # bytes of each body of a PUT or PATCH that was taken
    mounts: bool = True
    conditions: str = ""  # of a PUT of a manifest (RFC 9110): "kept"; "broken": what is changed is always refused
    lists_referrers: bool = False  # it answers a manifest that has a subject with that
    wants_subjects: bool = False  # a manifest whose subject is not here gets 404
    mount_status: int = 0  # what mounts are answered with
    head_status: int = 0  # what HEAD of a manifest or blob is answered with
    scope_status: int = 0  # what the token service answers who asks for a second repository
    challenges: tuple[str, ...] = ()  # what it answers who is not authorized, a header for each; R is its token service
    token_fail: list[int] = field(default_factory=list)  # statuses for the next answers of the token service
    scopes: list[list[str]] = field(default_factory=list)  # what tokens were asked for

    def put(self, data: bytes) -> str:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest

    def seen(self, method: str, part: str) -> list[str]:
        """The Authorization headers of requests of that kind."""
        return [authorization for verb, path, authorization in self.log if verb == method and part in path]


@contextlib.contextmanager
def fake_registry(**switches: object) -> Iterator[Fake]:
    """Serve on a loopback port until the block ends."""
    fake = Fake(**switches)  # type: ignore[arg-type]
    handler = type("Handler", (_Handler,), {"fake": fake})
    server = http.server.ThreadingHTTPServer((fake.address, 0), handler)
    if fake.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*fake.certificate)
        if fake.client_authority:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(fake.client_authority)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    fake.host = f"{fake.address}:{server.server_address[1]}"
    with serving(server):
        yield fake


class _Handler(http.server.BaseHTTPRequestHandler):
    fake: Fake
    protocol_version = "HTTP/1.1"

    def _serve(self, act: Callable[[], None]) -> None:
        self.fake.log.append((self.command, self.path, self.headers.get("Authorization", "")))
        if self.fake.refuses:
            self.close_connection = True
            return None
        if self.fake.fail:
            return self._answer(self.fake.fail.pop(0), headers={"Retry-After": self.fake.retry_after})
        if urlsplit(self.path).path != "/token" and not self._is_allowed():
            return self._challenge()
        return act()

    def do_GET(self) -> None:
        self._serve(self._get)

    def do_HEAD(self) -> None:
        if self.fake.head_status:
            self.fake.log.append((self.command, self.path, self.headers.get("Authorization", "")))
            return self._answer(self.fake.head_status)
        return self._serve(self._get)

    def do_POST(self) -> None:
        self._serve(self._post)

    def do_PATCH(self) -> None:
        self._serve(self._patch)

    def do_PUT(self) -> None:
        self._serve(self._put)

    def log_message(self, *_: object) -> None:
        return None

    def _is_allowed(self) -> bool:
        header = self.headers.get("Authorization", "")
        basic = "Basic " + base64.b64encode(f"{USER}:{self.fake.password}".encode()).decode()
        return {"": True, "basic": header == basic, "bearer": header == f"Bearer {self.fake.token}"}[self.fake.auth]

    def _challenge(self) -> None:
        realm = self.fake.realm or f"http://{self.fake.host}/token"
        kind = f'Bearer realm="{realm}",service="fake"' if self.fake.auth == "bearer" else 'Basic realm="fake"'
        self._body()
        self.send_response(401)
        for challenge in self.fake.challenges or (kind,):
            self.send_header("WWW-Authenticate", challenge.replace("=R", f'="{realm}"'))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, data: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _get(self) -> None:
        path = urlsplit(self.path).path
        name = path.rsplit("/", 1)[-1]
        if path == "/token":
            if self.fake.token_fail:
                return self._answer(self.fake.token_fail.pop(0), headers={"Retry-After": self.fake.retry_after})
            self.fake.scopes.append(parse_qs(urlsplit(self.path).query).get("scope", []))
            if self.fake.scope_status and len(self.fake.scopes[-1]) > 1:
                return self._answer(self.fake.scope_status)
            token = json.dumps({"token": self.fake.token, "expires_in": 60}).encode()
            return self._answer(200, self.fake.token_answer or token)
        if path.endswith("/tags/list"):
            headers = {"Link": self.fake.link} if self.fake.link else {}
            return self._answer(200, json.dumps({"tags": self.fake.tags}).encode(), headers)
        if "/manifests/sha256:" in path and name not in self.fake.manifests:  # by a digest that was pushed under a tag
            tags = [
                tag for tag, (data, _) in self.fake.manifests.items() if name.endswith(hashlib.sha256(data).hexdigest())
            ]
            name = tags[0] if tags else name
        if "/manifests/" in path and name in self.fake.manifests:
            data, media_type = self.fake.manifests[name]
            headers = {"Content-Type": media_type, **({"ETag": _etag(data)} if self.fake.conditions else {})}
            return self._answer(200, data, {**headers, **self.fake.headers.get(name, {})})
        if "/referrers/" in path and self.fake.lists_referrers:
            return self._answer(200, self._referrers(name), {"Content-Type": INDEX})
        if "/blobs/" in path and self.fake.redirect_to:
            return self._answer(307, headers={"Location": f"{self.fake.redirect_to}{path}?signature=s3cret"})
        if "/blobs/" in path and name in self.fake.blobs:
            return self._blob(self.fake.blobs[name])
        if path in self.fake.uploads:
            return self._answer(204, headers=self._progress(path))
        return self._answer(200 if path == "/v2/" else 404)

    def _referrers(self, subject: str) -> bytes:
        rows = []
        for digest, (data, media_type) in self.fake.manifests.items():
            document = json.loads(data)
            if digest.startswith("sha256:") and document.get("subject", {}).get("digest") == subject:
                kept = {name: document[name] for name in ("artifactType", "annotations") if name in document}
                rows.append({"mediaType": media_type, "digest": digest, "size": len(data), **kept})
        return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": rows}).encode()

    def _progress(self, path: str) -> dict[str, str]:
        return {"Location": path, "Range": f"0-{max(0, len(self.fake.uploads[path]) - 1)}"}

    def _blob(self, data: bytes) -> None:
        start, status, headers = 0, 200, {}
        wanted = self.headers.get("Range", "")
        if wanted and self.fake.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            status, headers = 206, {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        if not self.fake.cut_after or self.command == "HEAD":
            return self._answer(status, data[start:], headers)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start : start + self.fake.cut_after.pop(0)])
        self.close_connection = True

    def _post(self) -> None:
        if urlsplit(self.path).path == "/token":
            self._body()
            return self._answer(200, json.dumps({"access_token": self.fake.token}).encode())
        query = parse_qs(urlsplit(self.path).query)
        digest = query.get("mount", [""])[0]
        if digest and self.fake.mount_status:
            self._body()
            return self._answer(self.fake.mount_status)
        if digest in self.fake.blobs and self.fake.mounts:
            self.fake.blobs[f"mounted:{digest}"] = b""
            return self._answer(201)
        self._body()
        self.fake.begun += 1
        name = f"/upload/{self.fake.begun}"
        self.fake.uploads[name] = b""
        return self._answer(202, headers={"Location": self.fake.upload_at + name})

    def _arrives(self, path: str, body: bytes) -> bool:
        """Add to an upload; whether an answer may leave."""
        kept = self.fake.keep.pop(0) if body and self.fake.keep else -1
        self.fake.uploads[path] += body if kept < 0 else body[:kept]
        self.close_connection = kept >= 0
        return kept < 0 or len(body) <= kept

    def _refuses(self) -> bool:
        """Answer 413 to what is too large."""
        if not self.fake.max_body or int(self.headers.get("Content-Length") or 0) <= self.fake.max_body:
            return False
        if self.fake.reads_refused:
            self._body()
        self.close_connection = not self.fake.reads_refused
        self._answer(413)
        return True

    def _patch(self) -> None:
        path = urlsplit(self.path).path
        if self._refuses():
            return None
        first = int(self.headers["Content-Range"].partition("-")[0])
        body = self._body()
        self.fake.sent.append(len(body))
        if first != len(self.fake.uploads[path]):
            return self._answer(416)
        if self._arrives(path, body) and not self.close_connection:
            self._answer(202, headers=self._progress(path))
        return None

    def _late(self, data: bytes, seconds: float | None) -> None:
        """The blob is there after a while; a proxy answers before, or nobody does in time."""
        if seconds is not None:
            threading.Timer(seconds, self.fake.put, [data]).start()
        if self.fake.hides_slow:
            return self._answer(self.fake.hides_slow)
        self.close_connection = bool(self.connection.recv(1))  # until the client has lost patience
        return None

    def _meets(self, name: str) -> bool:
        match, none_match = self.headers.get("If-Match"), self.headers.get("If-None-Match")
        if not self.fake.conditions or not (match or none_match):
            return True
        there = self.fake.manifests.get(name)
        if self.fake.conditions == "broken":
            return there is None
        return there is None if none_match else there is not None and _etag(there[0]) == match

    def _put(self) -> None:
        parts = urlsplit(self.path)
        if self._refuses():
            return None
        body = self._body()
        if "/manifests/" in parts.path:
            if not self._meets(parts.path.rsplit("/", 1)[-1]):
                return self._answer(412)
            subject = json.loads(body).get("subject") if b'"subject"' in body else None  # others may be no JSON
            if subject and self.fake.wants_subjects and subject["digest"] not in self.fake.manifests:
                return self._answer(404)
            self.fake.manifests[parts.path.rsplit("/", 1)[-1]] = (body, self.headers["Content-Type"])
            is_listed = subject and self.fake.lists_referrers
            return self._answer(201, headers={"OCI-Subject": subject["digest"]} if subject and is_listed else {})
        if body and self.fake.refuse_large:
            return self._answer(413)
        if parts.path not in self.fake.uploads:
            return self._answer(404)
        self.fake.sent += [len(body)] if body else []
        if not self._arrives(parts.path, body):
            return None
        data = self.fake.uploads.pop(parts.path)
        if self.fake.slow_puts:
            return self._late(data, self.fake.slow_puts.pop(0))
        (wanted,) = parse_qs(parts.query)["digest"]
        if wanted != "sha256:" + hashlib.sha256(data).hexdigest():
            return self._answer(400)
        self.fake.put(data)
        return None if self.close_connection else self._answer(201)


def _etag(data: bytes) -> str:
    return f'"sha256:{hashlib.sha256(data).hexdigest()}"'
