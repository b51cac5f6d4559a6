"""A shared cache in Redis: rows and small blobs, each with a time to live; large blobs go to a second store.

redis://, rediss:// and unix:// addresses as redis-py reads them; redis+cluster:// for a cluster, and
redis+sentinel://HOST:PORT[,HOST:PORT…]/SERVICE[/DATABASE] for Sentinel. All rows of a question come in one round trip.
"""

from __future__ import annotations

import inspect
import io
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from tiffin.cache.errors import UsageError
from tiffin.cache.shared.clients import PerProcess
from tiffin.cache.shared.protocol import MAX_ROW_BYTES, SharedStore, StoreOptions, UnavailableError
from tiffin.cache.shared.stores.http import place_of
from tiffin.cache.store.snapshots import BlobRef

MAX_BLOB_BYTES = 8 << 20
PREFIX = "tiffin:"
SCHEMES = ("redis", "rediss", "unix", "redis+cluster", "redis+sentinel")


class RedisStore(SharedStore):
    """The rows and small blobs of one Redis. `layers` takes blobs above `max_blob_bytes`."""

    name = "redis"

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float,
        ttl_seconds: int = 0,
        max_blob_bytes: int = MAX_BLOB_BYTES,
        layers: SharedStore | None = None,
    ) -> None:
        self.place = place_of(url)
        if urlsplit(url).scheme not in SCHEMES:
            raise UsageError(f"{self.place} is not an address of Redis", remedy="write url=redis://HOST:PORT/DATABASE")
        self._url = url
        self._timeout = timeout_seconds
        self._ttl = ttl_seconds or None
        self._max_blob = max_blob_bytes
        self._layers = layers
        self._client: PerProcess[Any] = PerProcess(lambda: _connect(self._url, self._timeout))

    def read(self, names: Sequence[str]) -> Mapping[str, bytes]:
        values = self._ask(lambda pipe: [pipe.getrange(_row(name), 0, MAX_ROW_BYTES) for name in names])
        return {name: value for name, value in zip(names, values, strict=True) if value}  # b"" where there is none

    def write(self, rows: Mapping[str, bytes]) -> None:
        self._ask(lambda pipe: [pipe.set(_row(name), data, ex=self._ttl) for name, data in rows.items()])
        if self._layers is not None:
            large = {name: row for name, row in rows.items() if self._is_large(row)}
            if large:
                self._layers.write(large)

    def known(self, names: Sequence[str]) -> frozenset[str]:
        there = self._ask(lambda pipe: [self._renew(pipe, _row(name)) for name in names])
        return frozenset(name for name, found in zip(names, there, strict=True) if found)

    def has_blob(self, ref: BlobRef) -> bool:
        if bool(self._ask(lambda pipe: [self._renew(pipe, _blob(ref))])[0]):
            return True
        return self._layers is not None and self._layers.has_blob(ref)

    def read_blob(self, ref: BlobRef) -> BinaryIO | None:
        is_small = ref.size_bytes <= self._max_blob
        data = self._ask(lambda pipe: [pipe.getrange(_blob(ref), 0, ref.size_bytes)])[0] if is_small else b""
        if data:
            return io.BytesIO(data)
        return self._layers.read_blob(ref) if self._layers is not None else None

    def write_blob(self, ref: BlobRef, open_blob: Callable[[], BinaryIO]) -> bool:
        if ref.size_bytes > self._max_blob:
            return self._layers is not None and self._layers.write_blob(ref, open_blob)
        with open_blob() as stream:
            data = stream.read()
        self._ask(lambda pipe: [pipe.set(_blob(ref), data, ex=self._ttl)])
        return True

    def _renew(self, pipe: Any, key: str) -> object:
        """Ask whether a key is there; its time to live begins anew."""
        return pipe.expire(key, self._ttl) if self._ttl else pipe.exists(key)

    def _is_large(self, row: bytes) -> bool:
        return bool(json.loads(row)["layer"]["size"] > self._max_blob)

    def _ask(self, fill: Callable[[Any], object]) -> list[Any]:
        """Return one pipeline; raises UnavailableError.

        What Redis says of itself may hold the address, so it is not told.
        """
        import redis

        try:
            pipe = self._client.get().pipeline(transaction=False)
            fill(pipe)
            return list(pipe.execute())
        except redis.exceptions.AuthenticationError as exc:
            raise UnavailableError("it refused the credentials", remedy="put them into its address") from exc
        except redis.exceptions.TimeoutError as exc:
            raise UnavailableError(f"no answer within {self._timeout:g} s", remedy="is it running?") from exc
        except redis.exceptions.OutOfMemoryError as exc:
            raise UnavailableError("it is full", remedy="raise its maxmemory, or set an eviction policy") from exc
        except redis.exceptions.ResponseError as exc:
            reason = str(exc).split(" ", 1)[0].rstrip(":")
            raise UnavailableError(f"it refused the command ({reason})", remedy="check its set-up") from exc
        except (redis.exceptions.RedisError, OSError) as exc:
            raise UnavailableError("the connection failed", remedy="is it running?") from exc


def open_store(options: StoreOptions) -> RedisStore:
    """Return the store that options describe; `layers` is a reference for the blobs that are too large."""
    layers = options.options.get("layers")
    return RedisStore(
        options.place,
        timeout_seconds=options.timeout_seconds,
        ttl_seconds=int(options.ttl_seconds),
        max_blob_bytes=options.sizes.get("max-blob", MAX_BLOB_BYTES),
        layers=options.registry(layers) if layers else None,
    )


def _connect(url: str, seconds: float) -> Any:
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as exc:
        raise UsageError("type=redis needs the package redis", remedy="pip install tiffin[redis]") from exc
    options: dict[str, Any] = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    try:
        if url.startswith("redis+cluster://"):
            return redis.RedisCluster.from_url(url.replace("redis+cluster", "redis", 1), **options)
        if url.startswith("redis+sentinel://"):
            parts = urlsplit(url)
            hosts = [
                (host, int(port or 26379))
                for item in parts.netloc.rpartition("@")[2].split(",")
                for host, _, port in [item.partition(":")]
            ]
            service, _, database = parts.path.strip("/").partition("/")
            sentinel = redis.Sentinel(hosts, sentinel_kwargs=options, **options)
            sentinel.discover_master = _one_at_a_time(sentinel.discover_master)  # type: ignore[method-assign]
            login = {"username": parts.username or None, "password": parts.password}
            return sentinel.master_for(service, db=int(database or 0), **login)
        lost = (
            redis.exceptions.ConnectionError,
        )  # an idle connection the server closed; a time limit is no such thing
        retry = Retry(NoBackoff(), 1, supported_errors=lost)
        return redis.Redis.from_url(url, retry=retry, **options, **_without_greeting(redis.Redis))
    except ValueError as exc:
        raise UsageError(
            f"{place_of(url)} is not an address of Redis", remedy="write url=redis://HOST:PORT/DATABASE"
        ) from exc
    except redis.exceptions.RedisError as exc:
        raise UnavailableError("the connection failed", remedy="is it running?") from exc


def _without_greeting(client: Any) -> dict[str, Any]:
    """Return options that skip the greeting before the first request: it costs a round trip."""
    names = inspect.signature(client).parameters
    client_fields = ("driver_info",) if "driver_info" in names else ("lib_name", "lib_version")
    return {"protocol": 2, **dict.fromkeys(client_fields)}


def _one_at_a_time(ask: Callable[[str], Any]) -> Callable[[str], Any]:
    """Lock Sentinel's list of sentinels: it is reordered while it is walked, which threads must not do at once."""
    lock = threading.Lock()

    def guarded(name: str) -> Any:
        with lock:
            return ask(name)

    return guarded


def _row(name: str) -> str:
    return f"{PREFIX}step:{name}"


def _blob(ref: BlobRef) -> str:
    return f"{PREFIX}blob:{ref.digest}"
