"""A shared cache in a directory (a mounted volume, a folder that CI keeps): records/HH/HEX, blobs/ALGORITHM/HEX, tmp.

Files get their name last, by a rename from tmp, which is safe on NFS too: any number of builders on any machines read
and write at once, and nobody sees half a file. What a killed one leaves in tmp goes a day later.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES
from tiffin.cache.foundation.files import disk_errors
from tiffin.cache.shared.deadline import CacheNotFoundError
from tiffin.cache.shared.protocol import MAX_ROW_BYTES, SharedStore, StoreOptions, UnavailableError
from tiffin.cache.store.snapshots import BlobRef

LEFT_SECONDS = 24 * 3600  # nobody writes a file for so long
FILE_MODE = 0o644  # of other builders too


class DirectoryStore(SharedStore):
    """The rows and blobs of one directory. `ttl_seconds` 0: nothing is ever removed."""

    name = "dir"

    def __init__(self, path: Path, ttl_seconds: float = 0) -> None:
        self.place = str(path)
        self._path = path
        self._ttl = ttl_seconds
        self._is_swept = False

    def read(self, names: Sequence[str]) -> Mapping[str, bytes]:
        if not self._path.is_dir():
            raise CacheNotFoundError("it is not there yet", remedy="fill it with --cache-to")
        rows = {}
        for name in names:
            try:
                with _open(self._row(name)) as stream:
                    rows[name] = stream.read(MAX_ROW_BYTES + 1)
            except FileNotFoundError:
                continue
            except OSError as exc:
                raise UnavailableError(f"cannot read it: {exc.strerror}", remedy="check its permissions") from exc
        return rows

    def list_names(self) -> Sequence[str]:
        return [path.name for path in (self._path / "records").glob("*/*")]

    def write(self, rows: Mapping[str, bytes]) -> None:
        for name, data in rows.items():
            self._write(self._row(name), lambda sink, data=data: sink.write(data))  # type: ignore[misc]
        if self._ttl:
            self._remove(("records", "blobs"), self._ttl)

    def known(self, names: Sequence[str]) -> frozenset[str]:
        return frozenset(name for name in names if self._row(name).exists() and self._renew(self._row(name)))

    def has_blob(self, ref: BlobRef) -> bool:
        try:
            return self._blob(ref).stat().st_size == ref.size_bytes and self._renew(self._blob(ref))
        except OSError:
            return False

    def _renew(self, path: Path) -> bool:
        """Begin the time to live of a file anew; False if another builder just removed it."""
        if self._ttl:
            try:
                os.utime(path)
            except FileNotFoundError:
                return False
            except OSError:
                return True  # another builder's file: it lives as long as that one says
        return True

    def read_blob(self, ref: BlobRef) -> BinaryIO | None:
        try:
            return _open(self._blob(ref))
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise UnavailableError(f"cannot read it: {exc.strerror}", remedy="check its permissions") from exc

    def write_blob(self, ref: BlobRef, open_blob: Callable[[], BinaryIO]) -> bool:
        def copy(sink: BinaryIO) -> None:
            with open_blob() as source:
                while data := source.read(COPY_CHUNK_BYTES):
                    sink.write(data)

        self._write(self._blob(ref), copy)
        return True

    def _row(self, name: str) -> Path:
        return self._path / "records" / name[:2] / name

    def _blob(self, ref: BlobRef) -> Path:
        return self._path / "blobs" / ref.digest.algorithm / ref.digest.hex

    def _write(self, target: Path, fill: Callable[[BinaryIO], object]) -> None:
        temporary = f"{target.name}-{os.urandom(4).hex()}"
        with (
            disk_errors(target),
            self._folder(target.parent) as place,
            self._folder(self._path / "tmp") as other,
        ):
            if not self._is_swept:
                self._is_swept = True
                self._remove(("tmp",), LEFT_SECONDS)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            try:
                with os.fdopen(os.open(temporary, flags, FILE_MODE, dir_fd=other), "wb") as sink:
                    fill(cast(BinaryIO, sink))
                    os.fchmod(sink.fileno(), FILE_MODE)
                    sink.flush()
                    os.fsync(sink.fileno())  # else a crash of the machine may leave the name without the bytes
                os.replace(temporary, target.name, src_dir_fd=other, dst_dir_fd=place)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=other)

    @contextlib.contextmanager
    def _folder(self, path: Path) -> Iterator[int]:
        """Open a directory of the cache, made if it is missing; a link that another builder put in its place is
        refused.
        """
        self._path.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in path.relative_to(self._path).parts:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=fd)
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                above, fd = fd, os.open(name, flags, dir_fd=fd)
                os.close(above)
            yield fd
        finally:
            os.close(fd)

    def _remove(self, folders: Sequence[str], seconds: float) -> None:
        """Remove what was neither written nor found in use for so long; what others removed meanwhile is gone as
        well.
        """
        limit = time.time() - seconds
        for folder in folders:
            if not (self._path / folder).is_dir():
                continue
            for _, _, names, fd in os.fwalk(self._path / folder):  # which follows no link
                for name in names:
                    with contextlib.suppress(OSError):
                        if os.stat(name, dir_fd=fd, follow_symlinks=False).st_mtime < limit:
                            os.unlink(name, dir_fd=fd)


def open_store(options: StoreOptions) -> DirectoryStore:
    """Return the store that options describe."""
    return DirectoryStore(Path(options.place), options.ttl_seconds)


def _open(path: Path) -> BinaryIO:
    """Return a file to read; a fifo in its place would be waited for. Raises OSError."""
    stream = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0)
    if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        return cast(BinaryIO, stream)
    stream.close()
    raise FileNotFoundError(errno.ENOENT, "no file", str(path))
