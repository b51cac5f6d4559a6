"""Write changes as a layer: a deterministic tar, its DiffID, its table of contents, and a compressed blob if asked for.

Laws: the bytes depend on the changes alone, never on how a file system laid them out or what order it lists them in;
unpacking gives the same entries back.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from tiffin.builder.errors import BuildError
from tiffin.builder.layer.byte_streams import ByteWriter
from tiffin.builder.layer.change import Change, each, ordered
from tiffin.builder.layer.compression.codecs import CHUNKED, Compression, compressor
from tiffin.builder.layer.index import Entry, EntryColumns, LayerIndex, located, new_entry
from tiffin.builder.layer.tar.writer import END_OF_ARCHIVE, OPAQUE_NAME, WHITEOUT_PREFIX, header, padding
from tiffin.builder.oci.spec import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD
from tiffin.cache.foundation.digest import Digest, HashingWriter
from tiffin.cache.foundation.frozen import dataclass, replace
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.snapshots import BlobRef

CHUNK_BYTES = 1 << 20
QUEUED_CHUNKS = 8
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
MEDIA_TYPES = {"none": OCI_LAYER, "gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD, CHUNKED: OCI_LAYER_ZSTD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A packed layer; `size_bytes` is the tar's. `blob` None if none was asked for."""

    diff_id: Digest
    size_bytes: int
    index: LayerIndex
    blob: BlobRef | None


def pack(changes: Sequence[Change], sink: ByteWriter, *, is_told: bool = False) -> LayerIndex:
    """Write `changes` as a tar, sorted, parents first; the index has digests and offsets. Constant memory.

    Parents of what is changed should be among the changes: readers make missing ones as root's with mode 0755.

    A file that is not as long as its entry says is a BuildError; with `is_told` so is one whose digest is another than
    its entry has: its layer would be cached under a wrong key.
    """
    out = _Buffered(sink)
    entries, implied = EntryColumns(), []
    for change in ordered(changes):
        entry = change.entry
        if change.implied:
            implied.append(entry.path)
            entries.append(entry)
            continue
        written = _write(entry, change, out)
        if is_told and entry.digest and written.kind == "file" and entry.digest != written.digest:
            raise BuildError(
                f'"{entry.path}" changed while it was being copied', remedy="build again when it is at rest"
            )
        entries.append(written)
        if entry.opaque:
            marker = new_entry("", "file", 0o644, mtime_ns=entry.mtime_ns)
            out.write(header(marker, f"{entry.path}/{OPAQUE_NAME}"))
    out.write(END_OF_ARCHIVE)
    out.flush()
    return LayerIndex(entries, implied)


def pack_layer(
    changes: Sequence[Change],
    *,
    blobs: BlobStore | None,
    compression: Compression | None,
    progress: Callable[[int], None] | None = None,
    is_told: bool = False,
) -> Packed:
    """Pack in one pass: tar, DiffID, and with `blobs` and `compression` the blob too.

    Reading and the digests of files run in this thread, the DiffID and compression in others. `progress` is told how
    many bytes of tar there are so far, from another thread. `is_told` as in `pack`.
    """
    if blobs is None or compression is None:
        hashed = HashingWriter()
        index = _pumped_pack(changes, hashed, progress, is_told=is_told)
        return Packed(diff_id=hashed.digest, size_bytes=hashed.size_bytes, index=index, blob=None)
    if compression.kind == "none" and progress is None:
        return _pack_plain(changes, blobs, is_told=is_told)
    compression = suited(compression, (change.entry for change in each(changes)))
    told: dict[str, str] = {}
    with blobs.ingest() as blob:
        with compressor(blob, compression, told) as packed:
            hashed = HashingWriter(packed)  # type: ignore[arg-type]  # it only writes
            index = _pumped_pack(changes, hashed, progress, is_told=is_told)
        digest, size = blob.commit()
    ref = packed_ref(compression, digest, size, told)
    return Packed(diff_id=hashed.digest, size_bytes=hashed.size_bytes, index=index, blob=ref)


def _pack_plain(changes: Sequence[Change], blobs: BlobStore, *, is_told: bool) -> Packed:
    """Pack without compression: the blob's digest is the DiffID, and computed once."""
    with blobs.ingest() as blob:
        with pumped(blob) as pump:
            index = pack(changes, pump, is_told=is_told)
        digest, size = blob.commit()
    ref = BlobRef(media_type=OCI_LAYER, digest=digest, size_bytes=size)
    return Packed(diff_id=digest, size_bytes=size, index=index, blob=ref)


def suited(compression: Compression, entries: Iterable[Entry]) -> Compression:
    """Return how a layer of these entries is compressed: as zstd where no table in JSON can tell of them."""
    if compression.kind != CHUNKED:
        return compression
    from tiffin.builder.layer.compression.chunked import can_be_chunked

    return compression if can_be_chunked(entries) else replace(compression, kind="zstd")


def packed_ref(compression: Compression, digest: Digest, size_bytes: int, told: Mapping[str, str]) -> BlobRef:
    """Return the packed form that `compressor` made, with what it told."""
    return BlobRef(
        media_type=MEDIA_TYPES[compression.kind],
        digest=digest,
        size_bytes=size_bytes,
        annotations=tuple(sorted(told.items())),
    )


def _pumped_pack(
    changes: Sequence[Change], hashed: HashingWriter, progress: Callable[[int], None] | None, *, is_told: bool
) -> LayerIndex:
    with pumped(hashed if progress is None else _Reporting(hashed, progress)) as pump:
        return pack(changes, pump, is_told=is_told)


class _Reporting:
    def __init__(self, hashed: HashingWriter, progress: Callable[[int], None]) -> None:
        self._hashed = hashed
        self._progress = progress

    def write(self, data: bytes, /) -> None:
        self._hashed.write(data)
        self._progress(self._hashed.size_bytes)


def member_name(entry: Entry) -> str:
    """Return the name of an entry in the tar."""
    if entry.kind == "dir":
        return f"{entry.path}/"
    if entry.kind == "whiteout":
        parent, slash, name = entry.path.rpartition("/")
        return f"{parent}{slash}{WHITEOUT_PREFIX}{name}"
    return entry.path


def _write(entry: Entry, change: Change, out: _Buffered) -> Entry:
    if entry.kind == "whiteout":  # which has no owner, mode or time
        out.write(header(new_entry(entry.path, "file", 0), member_name(entry)))
        return new_entry(entry.path, "whiteout", 0)
    if f"/{entry.path}".rpartition("/")[2].startswith(WHITEOUT_PREFIX):
        raise BuildError(
            f'a layer cannot hold "{entry.path}": names beginning with {WHITEOUT_PREFIX} mean deletions there',
            remedy="give it another name, or make the step remove it",
        )
    out.write(header(entry, member_name(entry)))
    if entry.kind != "file":
        return entry
    offset = out.position
    digest = _copy(entry, change, out) if entry.size else EMPTY_SHA256
    return located(entry, digest, offset)


def _copy(entry: Entry, change: Change, out: _Buffered) -> str:
    assert change.open is not None, entry.path
    hasher = hashlib.sha256()
    left = entry.size
    with change.open() as stream:
        while left and (data := stream.read(min(left, CHUNK_BYTES))):
            hasher.update(data)
            out.write(data)
            left -= len(data)
        if left or stream.read(1):
            raise BuildError(
                f'"{entry.path}" changed its size while it was being read', remedy="build again when it is at rest"
            )
    out.write(padding(entry.size))
    return hasher.hexdigest()


class _Buffered:
    """Gathers small writes, so that each thread behind gets pieces worth its while."""

    def __init__(self, sink: ByteWriter) -> None:
        self._sink = sink
        self._parts: list[bytes] = []
        self._held = 0
        self.position = 0

    def write(self, data: bytes) -> None:
        self._parts.append(data)
        self._held += len(data)
        self.position += len(data)
        if self._held >= CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._parts:
            self._sink.write(self._parts[0] if len(self._parts) == 1 else b"".join(self._parts))
            self._parts, self._held = [], 0


@contextlib.contextmanager
def pumped(sink: ByteWriter) -> Iterator[ByteWriter]:
    """Yield a writer whose bytes reach `sink` in another thread, a few chunks behind; its errors are raised here."""
    pump = _Pump(sink)
    try:
        yield pump
    except BaseException:
        pump.abandon()
        raise
    pump.finish()


class _Pump:
    def __init__(self, sink: ByteWriter) -> None:
        self._queue: queue.Queue[bytes | None] = queue.Queue(QUEUED_CHUNKS)
        self._error: BaseException | None = None
        self._write: Callable[[bytes], object] = sink.write
        self._thread = threading.Thread(target=self._run, name="pump", daemon=True)
        self._thread.start()

    def write(self, data: bytes, /) -> int:
        if self._error is not None:
            raise self._error
        self._queue.put(data)
        return len(data)

    def finish(self) -> None:
        self._queue.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def abandon(self) -> None:
        """End the thread without caring for what it has left to write."""
        self._error = self._error or BrokenPipeError()
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (data := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._write(data)
                except BaseException as exc:  # handed to the writing thread
                    self._error = exc
