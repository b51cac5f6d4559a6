"""Blobs by digest: images/blobs/ALGORITHM/HEX, an OCI image layout's content store (image-spec image-layout.md).

A blob gets its name last: written under a temporary name, hashed on the way, compared, synced, renamed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tiffin.cache.errors import CorruptError, StoreError
from tiffin.cache.foundation.digest import Digest, HashingWriter, VerifyingReader
from tiffin.cache.foundation.files import disk_errors
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING, cast
from tiffin.cache.store.statedir import StateDir

if TYPE_CHECKING:
    from typing import BinaryIO

REPAIR = "run tiffin cache verify --repair, which removes damaged data"


class BlobWriter:
    """A blob being written; `commit` gives it its name, without it nothing stays."""

    def __init__(self, store: BlobStore, stream: BinaryIO, path: Path, algorithm: str) -> None:
        self._store = store
        self._stream = stream
        self.path = path
        self._hashed = HashingWriter(stream, algorithm=algorithm)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        with disk_errors(self.path):
            return self._hashed.write(data)

    def commit(self, expected: Digest | None = None, size_bytes: int | None = None) -> tuple[Digest, int]:
        """Check digest and size, sync, rename; returns both. Raises CorruptError, StoreError."""
        digest, size = self._hashed.digest, self._hashed.size_bytes
        if (expected is not None and digest != expected) or (size_bytes is not None and size != size_bytes):
            raise CorruptError(
                f"blob {expected} came as {digest} with {size} bytes", remedy="the source sends wrong bytes; try again"
            )
        with disk_errors(self.path):
            self._stream.flush()
            os.fsync(self._stream.fileno())
            os.chmod(self.path, 0o644)
            target = self._store.path(digest)
            target.parent.mkdir(exist_ok=True)
            os.rename(self.path, target)
        return digest, size


class BlobStore:
    """The blobs of one state directory. Safe for threads and processes: equal names hold equal bytes."""

    def __init__(self, state: StateDir) -> None:
        self._state = state

    @property
    def folder(self) -> Path:
        """Return where the blobs with sha256 are, which are nearly all."""
        return self._state.images / "blobs" / "sha256"

    def path(self, digest: Digest) -> Path:
        return self._state.images / "blobs" / digest.algorithm / digest.hex

    def has(self, digest: Digest) -> bool:
        return self.path(digest).exists()

    def size(self, digest: Digest) -> int | None:
        """Return bytes on disk, None if it is not here."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def ingest(self, algorithm: str = "sha256") -> Iterator[BlobWriter]:
        """Write a new blob; it is kept only if `commit` was called."""
        with self._state.scratch("blob") as scratch:
            path = scratch / "data"
            with disk_errors(path):
                stream = cast("BinaryIO", open(path, "xb"))  # noqa: SIM115  # closed below
            try:
                yield BlobWriter(self, stream, path, algorithm)
            finally:
                with disk_errors(path):  # what is still in the buffer is written now
                    stream.close()

    def put(self, data: bytes) -> Digest:
        """Store a small document; returns its digest."""
        digest = Digest.of(data)
        if self.size(digest) != len(data):
            with self.ingest() as writer:
                writer.write(data)
                writer.commit(digest)
        return digest

    def open(self, digest: Digest) -> VerifyingReader:
        """Read a blob, verified at its end; raises StoreError if it is not here."""
        try:
            stream = open(self.path(digest), "rb", buffering=0)  # noqa: SIM115  # the reader closes it
        except FileNotFoundError as exc:
            raise StoreError(f"blob {digest} is not in the store", remedy=f"pull its image again, or {REPAIR}") from exc
        size_bytes = os.fstat(stream.fileno()).st_size
        return VerifyingReader(cast("BinaryIO", stream), digest, size_bytes, remedy=f"the store is damaged: {REPAIR}")

    def read(self, digest: Digest, limit_bytes: int) -> bytes:
        """Return a small blob, verified; raises CorruptError if it is larger than `limit_bytes`."""
        with self.open(digest) as stream:
            if (self.size(digest) or 0) > limit_bytes:
                raise CorruptError(f"blob {digest} is larger than {limit_bytes} bytes", remedy="it is not a document")
            return stream.read()

    def delete(self, digest: Digest) -> int:
        """Remove a blob; returns the bytes freed."""
        size = self.size(digest) or 0
        self.path(digest).unlink(missing_ok=True)
        return size

    def __iter__(self) -> Iterator[Digest]:
        for folder in sorted((self._state.images / "blobs").iterdir()):
            for path in sorted(folder.iterdir()):
                yield Digest(folder.name, path.name)
