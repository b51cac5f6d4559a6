"""A shared cache in a directory (a mounted volume, a folder that CI keeps): records.json and blobs/ALGORITHM/HEX.

Files get their name last, so that any number of builders on any machines may read and write; of two that write the
records at once one wins, and nobody reads half of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from cache.bundle import MAX_BUNDLE_BYTES, Bundle
from cache.digest import COPY_CHUNK_BYTES
from cache.errors import StoreError
from cache.files import disk_errors, write_atomically
from cache.snapshots import BlobRef

RECORDS = "records.json"


class DirectoryBundles:
    """The bundle of one directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Bundle | None:
        """None where there is none yet; raises CorruptError, StoreError."""
        try:
            with (self._path / RECORDS).open("rb") as stream:
                return Bundle.decode(stream.read(MAX_BUNDLE_BYTES + 1))
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise StoreError(f"cannot read {self._path}: {exc.strerror}", remedy="check its permissions") from exc

    def save(self, bundle: Bundle, open_blob: Callable[[BlobRef], BinaryIO]) -> None:
        """Keep `bundle`, its layers first; `open_blob` gives the bytes of one that is not here."""
        for _, ref in bundle.layers():
            target = self._blob(ref)
            if target.exists():
                continue
            with disk_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary = target.with_name(f".{target.name}-{os.urandom(4).hex()}")
                try:
                    with open_blob(ref) as source, temporary.open("xb", buffering=0) as sink:
                        while data := source.read(COPY_CHUNK_BYTES):
                            sink.write(data)
                    temporary.replace(target)
                finally:
                    temporary.unlink(missing_ok=True)
        write_atomically(self._path / RECORDS, bundle.encode())
        (self._path / RECORDS).chmod(0o644)

    def open(self, ref: BlobRef) -> BinaryIO | None:
        """The bytes of a layer, unverified; None if it is not here."""
        try:
            return self._blob(ref).open("rb", buffering=0)
        except OSError:
            return None

    def _blob(self, ref: BlobRef) -> Path:
        return self._path / "blobs" / ref.digest.algorithm / ref.digest.hex
