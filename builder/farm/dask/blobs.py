"""Packed layers and files of contexts on their way, straight between two machines; each is verified by its digest.

tiffin_get DIGEST     {"size": N or None}, then {"data": bytes} until {"end": True}
tiffin_put            {"files": [[DIGEST, SIZE], …]}; the answer {"missing": [NUMBER, …]}; then for each of these
                      {"data": bytes}… and {"end": True}; the answer {"failure": TEXT}, "" for none
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from distributed.comm import Comm

from tiffin.builder.errors import StoreError
from tiffin.builder.farm.dask.lines import Lines, read
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.blobs import BlobStore

CHUNK_BYTES = 4 << 20
GET, PUT = "tiffin_get", "tiffin_put"


async def send_blob(comm: Comm, blobs: BlobStore, digest: Digest) -> None:
    """Answer one GET."""
    size = blobs.size(digest)
    await comm.write({"size": size})
    if size is None:
        return
    with blobs.path(digest).open("rb", buffering=0) as stream:
        while data := await asyncio.to_thread(stream.read, CHUNK_BYTES):
            await comm.write({"data": data})
    await comm.write({"end": True})


async def fetch_blob(address: str, lines: Lines, digest: Digest, size_bytes: int, blobs: BlobStore) -> bool:
    """Bring a blob here from a worker; False where that does not have it, or fails. Raises StoreError for this disk."""
    try:
        async with lines.asked(address, {"op": GET, "digest": str(digest)}) as (comm, answer):
            size = answer["size"]
            if size is None:
                return False
            if size_bytes >= 0 and size != size_bytes:
                raise OSError("it has something else")
            await _take(comm, blobs, digest, size)
            return True
    except (OSError, TimeoutError, KeyError, TypeError):
        return False


async def take_blobs(comm: Comm, blobs: BlobStore, files: Sequence[Sequence[Any]]) -> None:
    """Answer one PUT."""
    wanted = [(Digest.parse(str(text)), int(size)) for text, size in files]
    missing = [number for number, (digest, _) in enumerate(wanted) if not blobs.has(digest)]
    await comm.write({"missing": missing})
    failure = ""
    try:
        for number in missing:
            await _take(comm, blobs, *wanted[number])
    except StoreError as exc:
        failure = str(exc)
    await comm.write({"failure": failure})


async def put_blobs(
    address: str,
    lines: Lines,
    files: Sequence[tuple[Digest, int]],
    pieces: Callable[[Digest], Iterable[bytes]],
) -> int:
    """Bring blobs to a worker that lacks them; return the bytes sent. Raises OSError, StoreError for its disk, and what
    `pieces`, which gives the content of one, raises.
    """
    sent = 0
    question = {"op": PUT, "files": [[str(digest), size] for digest, size in files]}
    async with lines.asked(address, question) as (comm, answer):
        for number in answer["missing"]:
            parts = iter(pieces(files[number][0]))
            while (data := await asyncio.to_thread(next, parts, None)) is not None:
                await comm.write({"data": data})
                sent += len(data)
            await comm.write({"end": True})
        failure = (await read(comm))["failure"]
        if failure:
            raise StoreError(str(failure))
    return sent


async def _take(comm: Comm, blobs: BlobStore, digest: Digest, size: int) -> None:
    with blobs.ingest(digest.algorithm) as writer:
        while "data" in (message := await read(comm)):
            await asyncio.to_thread(writer.write, message["data"])
        await asyncio.to_thread(writer.commit, digest, size)
