"""GitHub's cache service, version 2, as its protocol is published (actions/toolkit, results/api/v1/cache.proto).

Twirp: POST of JSON. Entries are made, uploaded to a signed address as Azure's block blobs are, and finished; only then
they are found: the very key, else the newest that begins with one of the others, first of the own branch.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from tests.support.serving import serving

SERVICE = "/twirp/github.actions.results.api.v1.CacheService/"


@dataclass
class Entry:
    """One, from when it is made."""

    key: str
    version: str
    branch: str
    data: bytes = b""
    blocks: dict[str, bytes] = field(default_factory=dict)
    is_finished: bool = False
    is_lost: bool = False  # it is still found, and its blob is gone


@dataclass
class ActionsCache:
    """`tokens`: the branches that each reads; the first is the one it writes, unless it may only read."""

    address: str = ""
    tokens: dict[str, list[str]] = field(default_factory=lambda: {"main-token": ["main"]})
    readers: set[str] = field(default_factory=set)
    entries: list[Entry] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)  # answered first, one for each call of the service
    log: list[str] = field(default_factory=list)


@contextlib.contextmanager
def actions_cache() -> Iterator[ActionsCache]:
    """Serve on a loopback port until the block ends."""
    fake = ActionsCache()
    handler = type("Handler", (_Handler,), {"fake": fake})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    fake.address = f"http://127.0.0.1:{server.server_address[1]}/"
    with serving(server):
        yield fake


class _Handler(http.server.BaseHTTPRequestHandler):
    fake: ActionsCache
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self._body())
        method = self.path.removeprefix(SERVICE)
        self.fake.log.append(f"{method} {asked['key']}")
        if self.fake.statuses:
            status = self.fake.statuses.pop(0)
            return self._json(status, {"code": "resource_exhausted", "msg": "too many requests"})
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        branches = self.fake.tokens.get(token)
        if branches is None:
            return self._json(401, {"code": "unauthenticated", "msg": "the token is not valid"})
        if method == "GetCacheEntryDownloadURL":
            return self._json(200, self._find(asked, branches))
        if token in self.fake.readers:
            return self._json(403, {"code": "permission_denied", "msg": "cache write denied: the token is read only"})
        if method == "CreateCacheEntry":
            return self._create(asked, branches[0])
        return self._finish(asked, branches[0])

    def _find(self, asked: dict[str, object], branches: list[str]) -> dict[str, object]:
        restore_keys = asked.get("restore_keys", [])
        assert isinstance(restore_keys, list)
        for branch in branches:
            of_branch = [entry for entry in reversed(self.fake.entries)
                if entry.is_finished and entry.branch == branch and entry.version == asked["version"]]  # fmt: skip
            exact = [entry for entry in of_branch if entry.key == asked["key"]]
            begun = [entry for key in restore_keys for entry in of_branch if entry.key.startswith(key)]
            for entry in (*exact, *begun):
                number = self.fake.entries.index(entry)
                url = f"{self.fake.address}blobs/{number}?sig=read"
                return {"ok": True, "signed_download_url": url, "matched_key": entry.key}
        return {"ok": False, "signed_download_url": "", "matched_key": ""}

    def _create(self, asked: dict[str, str], branch: str) -> None:
        same = (asked["key"], asked["version"], branch)
        if any((entry.key, entry.version, entry.branch) == same for entry in self.fake.entries):
            message = "cache entry with the same key, version, and scope already exists"
            return self._json(409, {"code": "already_exists", "msg": message})
        self.fake.entries.append(Entry(*same))
        url = f"{self.fake.address}blobs/{len(self.fake.entries) - 1}?sig=write"
        return self._json(200, {"ok": True, "signed_upload_url": url, "message": ""})

    def _finish(self, asked: dict[str, str], branch: str) -> None:
        for entry in self.fake.entries:
            if (entry.key, entry.version, entry.branch) == (asked["key"], asked["version"], branch):
                entry.is_finished = len(entry.data) == int(asked["size_bytes"])
                return self._json(200, {"ok": entry.is_finished, "entry_id": "1", "message": ""})
        return self._json(404, {"code": "not_found", "msg": "no such entry"})

    def do_PUT(self) -> None:
        parts, body = urlsplit(self.path), self._body()
        query = parse_qs(parts.query)
        assert query.get("sig") == ["write"] and "Authorization" not in self.headers
        entry = self.fake.entries[int(parts.path.rpartition("/")[2])]
        match query.get("comp", [""])[0]:
            case "block":
                entry.blocks[query["blockid"][0]] = body
            case "blocklist":
                entry.data = b"".join(
                    entry.blocks[name] for name in re.findall("<Latest>(.*?)</Latest>", body.decode())
                )
            case _:
                assert self.headers["x-ms-blob-type"] == "BlockBlob"
                entry.data = body
        self._end(201, b"")

    def do_GET(self) -> None:
        entry = self.fake.entries[int(urlsplit(self.path).path.rpartition("/")[2])]
        self._end(404 if entry.is_lost else 200, b"" if entry.is_lost else entry.data)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _json(self, status: int, document: dict[str, object]) -> None:
        self._end(status, json.dumps(document).encode())

    def _end(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        return None
