"""zstd:chunked, a form of containers/storage: a layer that is zstd for everybody, of which podman and CRI-O can fetch
single files.

Every file's content is in frames of its own, a large one in several. After the layer come three frames that
decompressors skip: a table of contents, which says where each content lies and what its digest is; all that is no
content, as tar-split writes it, so that the very tar can be put together again; and where both are. Annotations of the
layer's descriptor tell the same, with the digest of the table.

Threads share the work; the bytes are the same for any number of them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from tiffin.builder.layer.byte_streams import ByteWriter
from tiffin.builder.layer.compression.crc64 import Crc64
from tiffin.builder.layer.index import Entry
from tiffin.builder.layer.tar.fields import NANOSECONDS, cstring, decimal, number, pax_records, pax_time, text
from tiffin.builder.layer.tar.writer import BLOCK_BYTES
from tiffin.builder.oci.spec import CHUNKED_PREFIX

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

CHECKSUM, POSITION = f"{CHUNKED_PREFIX}manifest-checksum", f"{CHUNKED_PREFIX}manifest-position"
TAR_SPLIT = f"{CHUNKED_PREFIX}tarsplit-position"
CHUNK_BYTES = 1 << 20  # of a file: compressed by itself
BATCH_BYTES = 1 << 20  # of frames that a thread makes at once
MAX_BATCHES = 8  # that wait
SKIPPABLE = b"\x50\x2a\x4d\x18"
MAGIC = b"GNUlInUx"
CRFS = 1  # the type of the table
FILE, SEGMENT = 1, 2  # the types of entries of tar-split
MAX_TOC_BYTES = (
    50 << 20
)  # beyond it older versions of containers/storage fail a pull instead of fetching the whole layer
ROW_BYTES = 400  # of an entry of the table at most, without what is as long as its names
LAST_YEAR_SECONDS = 253_402_300_800  # the year 10000, which no text of a time has
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TYPES = {b"0": "reg", b"1": "hardlink", b"2": "symlink", b"3": "char", b"4": "block", b"5": "dir", b"6": "fifo"}
_XATTR = "SCHILY.xattr."


def can_be_chunked(entries: Iterable[Entry]) -> bool:
    """Whether a table in JSON can tell of all entries of a layer: names are UTF-8 there, years have four digits, and
    podman takes no table that is too large.
    """
    total = 0
    for entry in entries:
        total += _row_bytes(entry) * (1 + entry.size // CHUNK_BYTES)
        if not (_is_text(entry) and -1 < entry.mtime_ns < LAST_YEAR_SECONDS * NANOSECONDS):
            return False
    return total <= MAX_TOC_BYTES


def _row_bytes(entry: Entry) -> int:
    return ROW_BYTES + len(entry.path) + len(entry.link) + sum(len(key) + 2 * len(value) for key, value in entry.xattrs)


def _is_text(entry: Entry) -> bool:
    try:
        "\0".join((entry.path, entry.link, *(name for name, _ in entry.xattrs))).encode()
    except UnicodeEncodeError:
        return False
    return True


class Engine(Protocol):
    """Compresses one stream."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class Zstd(Protocol):
    """Compresses at one level."""

    def stream(self) -> Engine: ...

    def frames(self, pieces: list[bytes]) -> list[bytes]:
        """Return a frame for each piece, nothing for an empty one."""


class _Skipped:
    """JSON that becomes a frame that is skipped, compressed as it comes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._parts: list[bytes] = []
        self.plain_bytes = 0

    def write(self, data: str) -> None:
        encoded = data.encode()
        self.plain_bytes += len(encoded)
        self._parts.append(self._engine.compress(encoded))

    def end(self) -> bytes:
        return b"".join((*self._parts, self._engine.flush()))


class _TarSplit(_Skipped):
    """What of a tar is no content, and the checksum of each content."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._count = 0

    def add(self, kind: int, payload: bytes | None, name: str = "", size: int = 0) -> None:
        row: dict[str, object] = {"type": kind}
        if name:
            row["name"] = name
        if size:
            row["size"] = size
        row["payload"] = None if payload is None else base64.b64encode(payload).decode()
        row["position"] = self._count
        self._count += 1
        self.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


class _Toc(_Skipped):
    """The table of contents."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._begun = False

    def add(self, row: Mapping[str, object]) -> None:
        self.write(("," if self._begun else '{"version":1,"entries":[') + json.dumps(row, ensure_ascii=False))
        self._begun = True

    def close(self, tar_split: bytes) -> bytes:
        begin = "" if self._begun else '{"version":1,"entries":['
        self.write(f'{begin}],"tarSplitDigest":"sha256:{hashlib.sha256(tar_split).hexdigest()}"}}')
        return self.end()


class _File:
    """A file whose content is on its way."""

    def __init__(self, row: dict[str, object], size: int) -> None:
        self.row = row
        self.size = size
        self.left = size
        self.packed = 0
        self.chunks: list[tuple[int, int, str]] = []  # where each lies, its length and digest
        self.hash = hashlib.sha256()
        self.crc = Crc64()

    @property
    def is_complete(self) -> bool:
        return self.packed == self.size

    def take(self, data: bytes) -> None:
        """Take content of it as it is read."""
        self.hash.update(data)
        self.crc.update(data)
        self.left -= len(data)

    def arrived(self, offset: int, data: bytes) -> None:
        """Note where a chunk of it lies."""
        digest = self.hash if len(data) == self.size else hashlib.sha256(data)
        self.chunks.append((offset, len(data), digest.hexdigest()))
        self.packed += len(data)

    def rows(self, end: int) -> Iterator[dict[str, object]]:
        """Yield what the table says of it; `end` is where its last chunk ends."""
        first = {**self.row, "digest": f"sha256:{self.hash.hexdigest()}", "offset": self.chunks[0][0], "endOffset": end}
        if len(self.chunks) == 1:
            yield first
            return
        at = 0
        for offset, size, digest in self.chunks:
            chunk = {"offset": offset, "chunkSize": size, "chunkDigest": f"sha256:{digest}"}
            yield {**first, **chunk} if not at else {**self._named(), **chunk, "chunkOffset": at}
            at += size

    def _named(self) -> dict[str, object]:
        return {"type": "chunk", "name": self.row["name"]}


# what becomes a frame: content of a file, or what is no content; of an entry without content only its row
Piece = tuple[bytes, _File | dict[str, object] | None]


class ChunkedWriter:
    """Takes a tar as tiffin writes it; `annotations` are those of its descriptor, once it is finished."""

    def __init__(self, sink: ByteWriter, zstd: Zstd, pool: ThreadPoolExecutor) -> None:
        self.annotations: Mapping[str, str] = {}
        self._sink = sink
        self._zstd = zstd
        self._pool = pool
        self._written = 0
        self._toc = _Toc(zstd.stream())
        self._split = _TarSplit(zstd.stream())
        self._buffer = bytearray()
        self._wanted = BLOCK_BYTES  # bytes until something can be done
        self._take: Callable[[bytes], None] = self._header
        self._segment = bytearray()  # what is no content since the last file
        self._extension = b""  # PAX records of the next header
        self._file: _File | None = None
        self._batch: list[Piece] = []
        self._batched = 0
        self._pending: deque[tuple[Future[list[bytes]], list[Piece]]] = deque()

    def write(self, data: bytes, /) -> int:
        self._buffer += data
        at = 0
        while self._wanted <= len(self._buffer) - at:
            piece = bytes(self._buffer[at : at + self._wanted])
            at += self._wanted
            self._take(piece)
        del self._buffer[:at]
        return len(data)

    def finish(self) -> None:
        """End the layer, and add what tells of it."""
        self._segment += self._buffer
        self._split.add(SEGMENT, bytes(self._segment))
        self._split.add(SEGMENT, b"")
        self._queue(bytes(self._segment))
        self._submit()
        while self._pending:
            self._write_batch()
        tar_split = self._split.end()
        toc = self._toc.close(tar_split)
        at = self._written + 8
        split_at = at + len(toc) + 8
        place = (at, len(toc), self._toc.plain_bytes)
        split_place = (split_at, len(tar_split), self._split.plain_bytes)
        for data in (toc, tar_split, struct.pack("<7Q", *place, CRFS, *split_place) + MAGIC):
            self._sink.write(SKIPPABLE + struct.pack("<I", len(data)) + data)
        self.annotations = {
            CHECKSUM: f"sha256:{hashlib.sha256(toc).hexdigest()}",
            POSITION: ":".join(map(str, (*place, CRFS))),
            TAR_SPLIT: ":".join(map(str, split_place)),
        }

    # -- the tar, piece by piece ---------------------------------------------------------------------------------------

    def _header(self, block: bytes) -> None:
        self._segment += block
        if not block.strip(b"\0"):
            self._take = self._rest
            return
        if block[156:157] == b"x":
            self._wanted = _padded(number(block[124:136]))
            self._take = self._records
            return
        records = pax_records(self._extension) if self._extension else {}
        self._extension = b""
        row, size = _described(block, records)
        self._split.add(SEGMENT, bytes(self._segment))
        self._queue(bytes(self._segment))
        self._segment.clear()
        if not size:
            self._split.add(FILE, None, str(row["name"]))
            self._batch.append((b"", row))  # told in its turn: after the files before it
            return
        self._file = _File(row, size)
        self._wanted = min(size, CHUNK_BYTES)
        self._take = self._content

    def _records(self, data: bytes) -> None:
        self._segment += data
        self._extension = data.rstrip(b"\0")
        self._wanted, self._take = BLOCK_BYTES, self._header

    def _content(self, data: bytes) -> None:
        file = self._file
        assert file is not None
        file.take(data)
        self._queue(data, file)
        self._wanted = min(file.left, CHUNK_BYTES)
        if file.left:
            return
        self._file = None
        self._split.add(FILE, file.crc.digest(), str(file.row["name"]), file.size)
        self._wanted, self._take = _padded(file.size) - file.size, self._padding
        if not self._wanted:
            self._wanted, self._take = BLOCK_BYTES, self._header

    def _padding(self, data: bytes) -> None:
        self._segment += data
        self._wanted, self._take = BLOCK_BYTES, self._header

    def _rest(self, data: bytes) -> None:
        self._segment += data

    # -- frames --------------------------------------------------------------------------------------------------------

    def _queue(self, data: bytes, file: _File | None = None) -> None:
        self._batch.append((data, file))
        self._batched += len(data)
        if self._batched >= BATCH_BYTES:
            self._submit()

    def _submit(self) -> None:
        batch, self._batch, self._batched = self._batch, [], 0
        self._pending.append((self._pool.submit(self._zstd.frames, [data for data, _ in batch]), batch))
        while len(self._pending) > MAX_BATCHES:
            self._write_batch()

    def _write_batch(self) -> None:
        future, batch = self._pending.popleft()
        for frame, (data, owner) in zip(future.result(), batch, strict=True):
            if isinstance(owner, dict):
                self._toc.add(owner)
                continue
            if owner is not None:
                owner.arrived(self._written, data)
            self._sink.write(frame)
            self._written += len(frame)
            if owner is not None and owner.is_complete:
                for row in owner.rows(self._written):
                    self._toc.add(row)


def _padded(size: int) -> int:
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def _described(block: bytes, records: Mapping[str, bytes]) -> tuple[dict[str, object], int]:
    """Return what the table says of a header, and how much content follows it."""
    kind = _TYPES[block[156:157]]
    prefix, name = cstring(block[345:500]), cstring(block[:100])
    path = records.get("path", b"/".join(filter(None, (prefix, name))))
    size = decimal(records["size"]) if "size" in records else number(block[124:136])
    row: dict[str, object] = {
        "type": kind,
        "name": text(path),
        "linkName": text(records.get("linkpath", cstring(block[157:257]))),
        "mode": number(block[100:108]),
        "size": size,
        "uid": decimal(records["uid"]) if "uid" in records else number(block[108:116]),
        "gid": decimal(records["gid"]) if "gid" in records else number(block[116:124]),
        "modtime": _time(pax_time(records["mtime"]) if "mtime" in records else number(block[136:148]) * NANOSECONDS),
        "devMajor": number(block[329:337]),
        "devMinor": number(block[337:345]),
        "xattrs": {
            key.removeprefix(_XATTR): base64.b64encode(value).decode()
            for key, value in records.items()
            if key.startswith(_XATTR)
        },
    }
    return {key: value for key, value in row.items() if value}, size


def _time(mtime_ns: int) -> str:
    seconds, nanoseconds = divmod(mtime_ns, NANOSECONDS)
    fraction = f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""
    return f"{(_EPOCH + timedelta(seconds=seconds)).strftime('%Y-%m-%dT%H:%M:%S')}{fraction}Z"
