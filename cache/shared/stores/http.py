"""A shared cache behind plain HTTP: GET, HEAD and PUT below one address, rows in ac/, blobs in cas/ (as Bazel's caches
have it).

nginx with WebDAV, bazel-remote (without its check of ac/), Apache, an artifact store: anything that keeps what was PUT.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import unquote, urlsplit, urlunsplit

from tiffin.cache.connections import RETRIED, Connections, plain_adapter, read_out
from tiffin.cache.errors import UsageError
from tiffin.cache.shared.batch import PARALLEL_ROWS, answer, batch_key, read_rows
from tiffin.cache.shared.protocol import MAX_ROW_BYTES, SharedStore, StoreOptions, UnavailableError
from tiffin.cache.shared.stall import MinimumRateReader
from tiffin.cache.store.snapshots import BlobRef
from tiffin.cache.trust import Trust

if TYPE_CHECKING:
    import requests

RETRY_SECONDS = 0.2
UNAUTHORIZED = 401


class HttpStore(SharedStore):
    """The rows and blobs below one address.

    `timeout_seconds` bounds each answer; `token` is sent as a bearer token, a user in the address as Basic.
    """

    name = "http"
    keeps_answers = True

    def __init__(self, url: str, *, timeout_seconds: float, token: str = "", trust: Trust | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{place_of(url)} is not an http address", remedy="write url=https://HOST/PATH")
        self.place = place_of(url)
        self._base = self.place.rstrip("/")
        self._auth = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = timeout_seconds
        self._connections = Connections(
            lambda: plain_adapter((trust or Trust({})).context_for), trust_env=not _is_loopback(parts.hostname)
        )

    def read(self, names: Sequence[str]) -> Mapping[str, bytes]:
        """Return one request for the rows of the very same question if it was asked before by a builder that stored the
        answer; those it lacks by one request each, many at a time.
        """
        return read_rows(names, self._row)

    def write(self, rows: Mapping[str, bytes]) -> None:
        with ThreadPoolExecutor(PARALLEL_ROWS, "cache rows") as pool:
            list(pool.map(lambda item: self._put(f"ac/{item[0]}", item[1]), rows.items()))

    def write_answer(self, names: Sequence[str], rows: Mapping[str, bytes]) -> None:
        """Keep the answer to one question as one document."""
        self._put(f"ac/{batch_key(names)}", answer(names, rows))

    def known(self, names: Sequence[str]) -> frozenset[str]:
        with ThreadPoolExecutor(PARALLEL_ROWS, "cache rows") as pool:
            there = pool.map(lambda name: self._exists(f"ac/{name}"), names)
            return frozenset(name for name, found in zip(names, there, strict=True) if found)

    def has_blob(self, ref: BlobRef) -> bool:
        return self._exists(_blob_path(ref))

    def read_blob(self, ref: BlobRef) -> BinaryIO | None:
        return self.open(_blob_path(ref))

    def open(self, path: str) -> BinaryIO | None:
        """Return what is at a path below the address, as a stream; None if there is nothing."""
        response = self._send("GET", path)
        if response.status_code == 404:
            read_out(response)
            return None
        return cast(BinaryIO, MinimumRateReader(response.raw, response.close, self._timeout))

    def write_blob(self, ref: BlobRef, open_blob: Callable[[], BinaryIO]) -> bool:
        self._put(_blob_path(ref), open_blob)
        return True

    # -- requests ------------------------------------------------------------------------------------------------------

    def _row(self, name: str) -> bytes | None:
        with self._send("GET", f"ac/{name}") as response:
            if response.status_code == 404:
                read_out(response)
                return None
            data: bytes = response.raw.read(MAX_ROW_BYTES + 1, decode_content=False)  # packed it has no limit
            return data

    def _exists(self, path: str) -> bool:
        response = self._send("HEAD", path)
        read_out(response)
        return response.status_code == 200

    def _put(self, path: str, body: bytes | Callable[[], BinaryIO]) -> None:
        read_out(self._send("PUT", path, body))

    def _send(self, method: str, path: str, body: bytes | Callable[[], BinaryIO] = b"") -> requests.Response:
        """Return one request, and another try where the answer allows that; 404 is an answer.

        Raises UnavailableError.
        """
        import requests

        deadline = time.monotonic() + self._timeout
        for again in (True, False):
            try:
                response = self._once(method, path, body)
            except requests.exceptions.Timeout as exc:
                raise UnavailableError(f"no answer within {self._timeout:g} s", remedy="is it running?") from exc
            except requests.exceptions.SSLError as exc:
                raise UnavailableError(
                    "its certificate is not trusted", remedy="add its CA to the system's store"
                ) from exc
            except (requests.exceptions.RequestException, OSError) as exc:
                if not again or "refused" in str(exc):
                    reason = "the connection was refused" if "refused" in str(exc) else "the connection broke"
                    raise UnavailableError(reason, remedy="is it running?") from exc
                time.sleep(RETRY_SECONDS)
                continue
            if response.status_code in (200, 201, 204, 404) and not (method == "PUT" and response.status_code == 404):
                return response
            wait = _wait(response)
            read_out(response)
            if not again or response.status_code not in RETRIED or time.monotonic() + wait > deadline:
                hint = " (is TIFFIN_CACHE_TOKEN what it printed?)" if response.status_code == UNAUTHORIZED else ""
                text = f"{method} was answered with {response.status_code}{hint}"
                raise UnavailableError(text, remedy="check its set-up")
            time.sleep(wait)
        raise AssertionError("unreachable")

    def _once(self, method: str, path: str, body: bytes | Callable[[], BinaryIO]) -> requests.Response:
        stream = body() if callable(body) else body
        try:
            return self._connections.session().request(
                method,
                f"{self._base}/{path}",
                data=stream or None,
                headers={**self._headers, "Accept-Encoding": "identity"},
                auth=self._auth,
                stream=True,
                allow_redirects=False,
                timeout=self._timeout,
            )
        finally:
            if not isinstance(stream, bytes):
                stream.close()


def open_store(options: StoreOptions) -> HttpStore:
    """Return the store that options describe."""
    return HttpStore(options.place, timeout_seconds=options.timeout_seconds, token=options.token, trust=options.trust)


def place_of(url: str) -> str:
    """Return an address without user, password and query."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    if not host:
        return url.partition("?")[0].rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _blob_path(ref: BlobRef) -> str:
    return f"cas/{ref.digest.hex}"


def _wait(response: requests.Response) -> float:
    """Return the seconds to wait before another try."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else RETRY_SECONDS
