"""Compression of layers, both ways. Owner of zstandard, zlib_ng and deflate, loaded when something is (de)compressed.

gzip is written as members (RFC 1952, 2.2) of fixed blocks, so threads share the work and the bytes are the same for any
number of them; every reader of layers takes several, as eStargz has them. libdeflate makes them: at its level 5 they
are as small as zlib's level 6 in a third of the time. What is compressed already is stored. The libraries come with
their wheels, so versions, not machines, decide what is written.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, cast

from tiffin.builder.errors import CorruptError, UsageError
from tiffin.cache.foundation.frozen import dataclass

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    import zstandard

    from tiffin.builder.layer.byte_streams import ByteWriter

Kind = Literal["none", "gzip", "zstd", "zstd:chunked"]
CHUNKED: Kind = "zstd:chunked"
GZIP_BLOCK_BYTES = 1 << 20
GZIP_PIECE_BYTES = 1 << 17  # of a block: compressed or stored as a whole
SAMPLE_BYTES = 1 << 10  # twice in a piece: what they cannot save is not there to be saved
DENSE_RATIO = 0.98
MOST_ZEROS = 1 / 128  # twice as many as in random bytes: more are headers between small files, which do get smaller
# measured: a tenth smaller than level 2 of zlib-ng in a fifth more time; level 6 takes a fifth more still for 1 %
GZIP_DEFAULT_LEVEL = 5
ZSTD_DEFAULT_LEVEL = 3
MAX_THREADS = 4
GZIP_WRAPPER = 31  # zlib's window bits
READ_BYTES = 1 << 17
XZ_MAX_MEMORY_BYTES = 128 << 20  # xz -9 needs 65 MiB; a stream may ask for 4 GiB
_MAGIC = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """How to pack; `level` None is the kind's default. Level 0–9 for gzip, 1–22 for zstd and zstd:chunked."""

    kind: Kind = "gzip"
    level: int | None = None

    def __post_init__(self) -> None:
        highest = {"none": 0, "gzip": 9}.get(self.kind, 22)
        if self.level is not None and not 0 <= self.level <= highest:
            raise UsageError(f"{self.kind} has no level {self.level}", remedy=f"give a level from 0 to {highest}")


@contextlib.contextmanager
def compressor(sink: ByteWriter, compression: Compression, told: dict[str, str] | None = None) -> Iterator[ByteWriter]:
    """Yield a writer that compresses into `sink`; leaving the block without an error ends the stream, and puts into
    `told` what its descriptor has to tell as annotations.
    """
    if compression.kind == "none":
        yield sink
    elif compression.kind == "zstd":
        import zstandard

        level = ZSTD_DEFAULT_LEVEL if compression.level is None else compression.level
        # at least one worker: zstd's bytes then do not depend on their number
        threads = max(1, min(MAX_THREADS, os.cpu_count() or 1))
        engine = zstandard.ZstdCompressor(level=level, threads=threads).compressobj()
        yield _Feeding(sink, engine)
        sink.write(engine.flush())
    elif compression.kind == CHUNKED:
        from concurrent.futures import ThreadPoolExecutor

        from tiffin.builder.layer.compression.chunked import ChunkedWriter

        level = ZSTD_DEFAULT_LEVEL if compression.level is None else compression.level
        with ThreadPoolExecutor(max(1, min(MAX_THREADS, os.cpu_count() or 1)), "zstd") as pool:
            writer = ChunkedWriter(sink, _Zstd(level), pool)
            yield writer
            writer.finish()
            if told is not None:
                told.update(writer.annotations)
    else:
        from concurrent.futures import ThreadPoolExecutor

        level = GZIP_DEFAULT_LEVEL if compression.level is None else compression.level
        with ThreadPoolExecutor(max(1, min(MAX_THREADS, os.cpu_count() or 1)), "gzip") as pool:
            gzip = _BlockGzip(sink, level, pool)
            yield gzip
            gzip.finish()


class _Zstd:
    """Compresses at one level, in one thread for each call."""

    def __init__(self, level: int) -> None:
        self._level = level

    def stream(self) -> zstandard.ZstdCompressionObj:
        import zstandard

        return zstandard.ZstdCompressor(level=self._level).compressobj()

    def frames(self, pieces: list[bytes]) -> list[bytes]:
        import zstandard

        engine = zstandard.ZstdCompressor(level=self._level)
        return [engine.compress(piece) if piece else b"" for piece in pieces]


class _Feeding:
    def __init__(self, sink: ByteWriter, engine: zstandard.ZstdCompressionObj) -> None:
        self._sink = sink
        self._engine = engine

    def write(self, data: bytes, /) -> int:
        packed = self._engine.compress(data)
        if packed:
            self._sink.write(packed)
        return len(data)


class _BlockGzip:
    """Members made by a pool, written in order; at most a few wait."""

    def __init__(self, sink: ByteWriter, level: int, pool: ThreadPoolExecutor) -> None:
        self._sink = sink
        self._level = level
        self._pool = pool
        self._buffer = bytearray()
        self._is_begun = False
        self._pending: deque[Future[bytes]] = deque()

    def write(self, data: bytes, /) -> int:
        self._buffer += data
        while len(self._buffer) >= GZIP_BLOCK_BYTES:
            self._submit(bytes(self._buffer[:GZIP_BLOCK_BYTES]))
            del self._buffer[:GZIP_BLOCK_BYTES]
        return len(data)

    def finish(self) -> None:
        if self._buffer or not self._is_begun:
            self._submit(bytes(self._buffer))
        while self._pending:
            self._sink.write(self._pending.popleft().result())

    def _submit(self, block: bytes) -> None:
        self._is_begun = True
        self._pending.append(self._pool.submit(_members, block, self._level))
        while len(self._pending) > 2 * MAX_THREADS:
            self._sink.write(self._pending.popleft().result())


def _members(block: bytes, level: int) -> bytes:
    """Return one block as gzip members; runs of pieces that would not get smaller are stored, at many times the
    speed.
    """
    import deflate

    return b"".join(
        deflate.gzip_compress(block[start:end], 0 if dense else level) for start, end, dense in _runs(block, level)
    )


def _runs(block: bytes, level: int) -> list[tuple[int, int, bool]]:
    """Start, end and density of the parts of a block that are treated alike; one, maybe empty, at least."""
    runs: list[tuple[int, int, bool]] = []
    for start in range(0, max(len(block), 1), GZIP_PIECE_BYTES):
        piece = block[start : start + GZIP_PIECE_BYTES]
        dense = _is_dense(piece, level)
        begun = runs.pop()[0] if runs and runs[-1][2] == dense else start
        runs.append((begun, start + len(piece), dense))
    return runs


def _is_dense(piece: bytes, level: int) -> bool:
    """Whether it looks random, encrypted or compressed already, by its zeros and a sample; decided by the bytes
    alone.
    """
    import deflate

    if len(piece) < GZIP_PIECE_BYTES or not level or piece.count(0) > len(piece) * MOST_ZEROS:
        return False
    quarter = len(piece) // 4
    sample = piece[quarter : quarter + SAMPLE_BYTES] + piece[-quarter : SAMPLE_BYTES - quarter]
    return len(deflate.deflate_compress(sample, level)) > len(sample) * DENSE_RATIO


def sniff(head: bytes) -> str:
    """Return the compression a stream begins with: gzip, zstd, bzip2, xz or none."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    return "none"


@contextlib.contextmanager
def decompressor(source: BinaryIO, kind: str) -> Iterator[BinaryIO]:
    """Yield the plain bytes of `source`; `kind` "auto" looks at its first bytes. Reads raise CorruptError.

    `source` stays the caller's to close. How much comes out is not limited here.
    """
    if kind == "auto":
        head = source.read(6)
        kind, source = sniff(head), cast(BinaryIO, _Prefixed(head, source))
    raw = io.BufferedReader(_Plain(source, kind), READ_BYTES)
    try:
        yield raw
    finally:
        raw.close()


class _Prefixed(io.RawIOBase):
    """Bytes already read, then the rest."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        super().__init__()
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._head:
            data, self._head = self._head, b""
            return data
        return self._rest.read(size)


class _Plain(io.RawIOBase):
    def __init__(self, source: BinaryIO, kind: str) -> None:
        super().__init__()
        self._chunks = {"gzip": _gunzip, "zstd": _unzstd, "bzip2": _unbz2, "xz": _unxz}.get(kind, _copy)(source)
        self._kind = kind
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # io gives a writable buffer
        try:
            while not self._left:
                self._left = memoryview(next(self._chunks))
        except StopIteration:
            return 0
        except _damage() as exc:
            raise CorruptError(f"a {self._kind} stream is damaged: {exc}", remedy="fetch it again") from exc
        count = min(len(view), len(self._left))
        view[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def _damage() -> tuple[type[Exception], ...]:
    """Return what the libraries raise for bad input."""
    import lzma

    import zstandard
    from zlib_ng import zlib_ng

    zlib_error: type[Exception] = zlib_ng.error  # type: ignore[assignment]  # its stub says instance
    return (zlib_error, zstandard.ZstdError, lzma.LZMAError, OSError, EOFError, ValueError)


def _copy(source: BinaryIO) -> Iterator[bytes]:
    while data := source.read(READ_BYTES):
        yield data


def _gunzip(source: BinaryIO) -> Iterator[bytes]:
    from zlib_ng import zlib_ng

    data = source.read(READ_BYTES)
    while data:
        engine = zlib_ng.decompressobj(GZIP_WRAPPER)
        while True:
            plain = engine.decompress(data, 8 * READ_BYTES)
            if plain:
                yield plain
            if engine.eof:
                break
            data = engine.unconsumed_tail or source.read(READ_BYTES)
            if not data:
                raise EOFError("it ends too early")
        data = engine.unused_data or source.read(READ_BYTES)
        if data and not data.strip(b"\0"):  # padding after the last member, as tapes and some tools leave
            data = b""


def _unzstd(source: BinaryIO) -> Iterator[bytes]:
    import zstandard

    context = zstandard.ZstdDecompressor()  # takes windows of 128 MiB at most
    from tiffin.builder.layer.compression import zstd_frames

    for parts in zstd_frames.frames(source):
        engine = context.decompressobj()
        for part in parts:
            plain = engine.decompress(part)
            if plain:
                yield plain
        if not engine.eof:
            raise EOFError("it ends too early")


def _unbz2(source: BinaryIO) -> Iterator[bytes]:
    import bz2

    return _streams(source, bz2.BZ2Decompressor)


def _unxz(source: BinaryIO) -> Iterator[bytes]:
    import lzma

    return _streams(source, lambda: lzma.LZMADecompressor(memlimit=XZ_MAX_MEMORY_BYTES))


class _Engine(Protocol):
    """A decompressor of the standard library."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _streams(source: BinaryIO, begin: Callable[[], _Engine]) -> Iterator[bytes]:
    """Yield one stream after the other; zeros that pad the last are not a stream."""
    data = source.read(READ_BYTES)
    while data:
        engine = begin()
        while not engine.eof:
            if not data and engine.needs_input:
                data = source.read(READ_BYTES)
                if not data:
                    raise EOFError("it ends too early")
            plain = engine.decompress(data, 8 * READ_BYTES)
            data = b""
            if plain:
                yield plain
        data = engine.unused_data or source.read(READ_BYTES)
        while data and not data.strip(b"\0"):
            data = source.read(READ_BYTES)
