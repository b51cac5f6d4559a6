"""A shared cache in Azure's blob storage: rows in PREFIXac/, layers in PREFIXcas/. Needs azure-storage-blob
(tiffin[azure]).

Credentials: secret_access_key=, a signature in the address (SAS), or what azure-identity finds where it is installed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, cast

from tiffin.cache.errors import UsageError
from tiffin.cache.shared.batch import PARALLEL_ROWS, answer, batch_key, read_rows
from tiffin.cache.shared.clients import PerProcess
from tiffin.cache.shared.protocol import MAX_ROW_BYTES, SharedStore, StoreOptions, UnavailableError
from tiffin.cache.shared.stores.http import place_of
from tiffin.cache.store.snapshots import BlobRef

CONTAINER, CONTAINER_VARIABLE = "buildkit-cache", "BUILDKIT_AZURE_STORAGE_CONTAINER"
KEY_VARIABLE = "BUILDKIT_AZURE_STORAGE_SECRET_ACCESS_KEY"
BLOCK_BYTES = 8 << 20  # of an upload


class AzureStore(SharedStore):
    """The rows and layers of one container, which is made where it is missing."""

    name = "azblob"
    keeps_answers = True

    def __init__(self, url: str, *, container: str, prefix: str, key: str, timeout_seconds: float) -> None:
        self.place = f"{place_of(url).rstrip('/')}/{container}/{prefix}"
        self._url = url
        self._container = container
        self._prefix = prefix
        self._key = key
        self._timeout = timeout_seconds
        self._client: PerProcess[Any] = PerProcess(self._make)

    def read(self, names: Sequence[str]) -> Mapping[str, bytes]:
        return read_rows(names, self._read)

    def write_answer(self, names: Sequence[str], rows: Mapping[str, bytes]) -> None:
        self._write(f"ac/{batch_key(names)}", answer(names, rows))

    def write(self, rows: Mapping[str, bytes]) -> None:
        with ThreadPoolExecutor(PARALLEL_ROWS, "cache rows") as pool:
            list(pool.map(lambda item: self._write(f"ac/{item[0]}", item[1]), rows.items()))

    def known(self, names: Sequence[str]) -> frozenset[str]:
        with ThreadPoolExecutor(PARALLEL_ROWS, "cache rows") as pool:
            there = pool.map(lambda name: self._exists(f"ac/{name}"), names)
            return frozenset(name for name, found in zip(names, there, strict=True) if found)

    def has_blob(self, ref: BlobRef) -> bool:
        return self._exists(_blob(ref))

    def read_blob(self, ref: BlobRef) -> BinaryIO | None:
        found = self._try(lambda: self._blob(_blob(ref)).download_blob())
        return cast(BinaryIO, _Download(found, self._try)) if found is not None else None

    def write_blob(self, ref: BlobRef, open_blob: Callable[[], BinaryIO]) -> bool:
        with open_blob() as stream:
            self._write(_blob(ref), stream, ref.size_bytes)
        return True

    def _read(self, name: str) -> bytes | None:
        found = self._try(lambda: self._blob(f"ac/{name}").download_blob(offset=0, length=MAX_ROW_BYTES + 1).readall())
        return cast("bytes | None", found)

    def _exists(self, path: str) -> bool:
        return self._try(lambda: self._blob(path).get_blob_properties()) is not None

    def _write(self, path: str, data: bytes | BinaryIO, size: int | None = None) -> None:
        self._try(lambda: self._blob(path).upload_blob(data, length=size, overwrite=True))

    def _blob(self, path: str) -> Any:
        return self._client.get().get_blob_client(self._prefix + path)

    def _try(self, act: Callable[[], Any]) -> Any:
        """Raise UnavailableError; None for what is absent."""
        _need_library()
        from azure.core.exceptions import (
            AzureError,
            ClientAuthenticationError,
            HttpResponseError,
            ResourceNotFoundError,
        )

        try:
            return act()
        except ResourceNotFoundError:
            return None
        except ClientAuthenticationError as exc:
            raise UnavailableError("it refused the key", remedy="check secret_access_key or the signature") from exc
        except HttpResponseError as exc:
            reason = f"{exc.status_code} {exc.reason}"
            raise UnavailableError(f"it refused the request ({reason})", remedy="check container and key") from exc
        except (AzureError, OSError, ValueError) as exc:
            raise UnavailableError("the connection failed", remedy="check account_url") from exc

    def _make(self) -> Any:
        from azure.core.exceptions import ResourceExistsError
        from azure.storage.blob import ContainerClient

        client = ContainerClient(
            self._url,
            self._container,
            credential=self._key or _identity(self._url),
            connection_timeout=self._timeout,
            read_timeout=self._timeout,
            retry_total=1,
            initial_backoff=1,  # seconds: 15, as it is else, would hold up a build
            increment_base=1,
            max_single_put_size=BLOCK_BYTES,
            max_block_size=BLOCK_BYTES,
        )
        with contextlib.suppress(ResourceExistsError):
            client.create_container()
        return client


class _Download:
    """A layer, as it comes; errors of the library are the store's."""

    def __init__(self, found: Any, attempt: Callable[[Callable[[], Any]], Any]) -> None:
        self._chunks = found.chunks()
        self._try = attempt
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        while size < 0 or not self._rest:
            more = self._try(lambda: next(self._chunks, b""))
            if not more:
                break
            self._rest += more
        taken = self._rest if size < 0 else self._rest[:size]
        self._rest = self._rest[len(taken) :]
        return taken

    def close(self) -> None:
        self._chunks = iter(())

    def __enter__(self) -> _Download:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_store(options: StoreOptions) -> AzureStore:
    """Return the store that options describe."""
    given = options.options
    return AzureStore(
        options.place,
        container=given.get("container") or os.environ.get(CONTAINER_VARIABLE) or CONTAINER,
        prefix=given.get("prefix", ""),
        key=given.get("secret_access_key") or os.environ.get(KEY_VARIABLE, ""),
        timeout_seconds=options.timeout_seconds,
    )


def _need_library() -> None:
    try:
        import azure.storage.blob  # noqa: F401  # for its presence
    except ImportError as exc:
        raise UsageError("azblob needs the package azure-storage-blob", remedy="pip install tiffin[azure]") from exc


def _identity(url: str) -> Any:
    """Return the identity of the machine or the job; none where the address has a signature."""
    if "sig=" in url:
        return None
    try:
        from azure.identity import DefaultAzureCredential
    except ImportError as exc:
        raise UsageError(
            "azblob has no key", remedy="give secret_access_key=, a SAS in account_url=, or install azure-identity"
        ) from exc
    return DefaultAzureCredential()


def _blob(ref: BlobRef) -> str:
    return f"cas/{ref.digest.hex}"
