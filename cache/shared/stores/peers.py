"""Other builders as the first place to fetch a layer from: each layer has one of them that fetches it from the registry
for all.

A peer is a `tiffin cache serve`. Rendezvous hashing ranks the peers for each digest, the same way on every builder, so
that all ask the same peer first; one that fails is not asked again by this process. Bytes are verified by their digest.
"""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from tiffin.cache.errors import CorruptError, UsageError
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES, Digest
from tiffin.cache.shared.protocol import UnavailableError
from tiffin.cache.shared.stores.http import HttpStore, place_of
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.snapshots import BlobRef
from tiffin.cache.trust import Trust

if TYPE_CHECKING:
    from typing import BinaryIO

DEFAULT_PORT = 5050
MIN_BYTES = 64 << 10  # smaller blobs cost less than the question
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(%\w+)?")
_DNS = re.compile(r"dns:[A-Za-z0-9._-]+(:\d{1,5})?")
STALL_SECONDS = 10.0  # a peer may itself be waiting for the registry


class Peers:
    """The peers named by `names`: addresses, or dns:NAME[:PORT] for all addresses a name has.

    `warn` is told of each that fails.
    """

    def __init__(
        self, names: Sequence[str], token: str, warn: Callable[[str], None], trust: Trust | None = None
    ) -> None:
        self._names = tuple(names)
        for name in self._names:
            check_peer(name)
        self._token = token
        self._warn = warn
        self._trust = trust
        self._lock = threading.Lock()  # guards everything below
        self._stores: dict[str, HttpStore] | None = None
        self._failed: set[str] = set()

    def bring(self, ref: BlobRef, registry: str, repository: str, blobs: BlobStore) -> bool:
        """Bring a blob of a repository here from the best peer that has it or can get it; False if none did."""
        if ref.size_bytes < MIN_BYTES:
            return False
        for address in ranked(self._addresses(), ref.digest):
            if address in self._failed:
                continue
            path = f"v2/{repository}/blobs/{ref.digest}?ns={quote(registry)}&size={ref.size_bytes}"
            try:
                stream = self._store(address).open(path)
                if stream is not None and not blobs.has(ref.digest):
                    _keep(stream, ref, blobs)
                if blobs.has(ref.digest):
                    return True
            except (UnavailableError, CorruptError) as exc:
                with self._lock:
                    reported = address in self._failed  # by a thread that asked at the same time
                    self._failed.add(address)
                if not reported:
                    self._warn(f"peer {place_of(address)} is left out: {exc.message}")
        return False

    def _store(self, address: str) -> HttpStore:
        self._addresses()
        assert self._stores is not None
        return self._stores[address]

    def _addresses(self) -> list[str]:
        with self._lock:
            if self._stores is None:
                found = [address for name in self._names for address in _resolved(name, self._warn)]
                self._stores = {
                    address: HttpStore(address, timeout_seconds=STALL_SECONDS, token=self._token, trust=self._trust)
                    for address in dict.fromkeys(found)
                }
            return list(self._stores)


def ranked(addresses: Sequence[str], digest: Digest) -> list[str]:
    """Return the addresses, the one responsible for `digest` first (rendezvous hashing)."""
    return sorted(
        addresses, key=lambda address: hashlib.sha256(f"{place_of(address)} {digest}".encode()).digest(), reverse=True
    )


def _keep(stream: BinaryIO, ref: BlobRef, blobs: BlobStore) -> None:
    with stream, blobs.ingest(ref.digest.algorithm) as writer:
        received = 0
        while data := stream.read(COPY_CHUNK_BYTES):
            received += len(data)
            if received > ref.size_bytes:
                raise CorruptError("it sends more than it should", remedy="it is not asked again")
            writer.write(data)
        writer.commit(ref.digest, ref.size_bytes)


def check_peer(name: str, source: str = "--cache-peer") -> None:
    """Raise UsageError for what is not an address of a peer; `source` is what names it."""
    if not (_DNS.fullmatch(name) if name.startswith("dns:") else _is_address(name)):
        shown = name.rpartition("@")[2] if "@" in name else name  # no credentials
        raise UsageError(f"{source} {shown} is not a valid peer", remedy="write http://HOST:PORT or dns:NAME:PORT")


def _is_address(name: str) -> bool:
    try:
        parts = urlsplit(name)
        return parts.scheme in ("http", "https") and bool(_HOST.fullmatch(parts.hostname or "")) and parts.port != 0
    except ValueError:  # a port that is not a number
        return False


def _resolved(name: str, warn: Callable[[str], None]) -> list[str]:
    if not name.startswith("dns:"):
        return [name.rstrip("/")]
    host, _, port = name[4:].partition(":")
    try:
        found = socket.getaddrinfo(host, int(port or DEFAULT_PORT), type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        warn(f"no peer is called {host}")
        return []
    addresses = {str(item[4][0]) for item in found}
    return sorted(
        f"http://[{address}]:{port or DEFAULT_PORT}" if ":" in address else f"http://{address}:{port or DEFAULT_PORT}"
        for address in addresses
    )
