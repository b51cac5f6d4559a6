"""Read a layer's tar as a stream of entries: ustar, PAX, GNU long names, base-256 numbers, sparse files.

Made for hostile input: names are cleaned of nothing but refused when they lead anywhere odd, every length has a limit,
and nothing is written here.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from builder.errors import CorruptError, ImageError
from builder.layer.index import Entry
from builder.layer.pack import OPAQUE_NAME, WHITEOUT_PREFIX
from builder.layer.paths import ROOT
from builder.layer.xattrs import is_foreign

BLOCK_BYTES = 512
MAX_HEADER_BYTES = 1 << 20  # PAX records or a long name of one entry
MAX_ENTRIES = 4_000_000  # a large distribution has 500,000 files
MAX_PATH_BYTES = 4096  # the kernel's PATH_MAX
MAX_FILE_BYTES = 1 << 43  # 8 TiB; a size beyond is a lie
MAX_SPARSE_PARTS = 1 << 20
NANOSECONDS = 1_000_000_000
_KINDS = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"S": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "char",
    b"4": "block",
    b"5": "dir",
    b"6": "fifo",
}
_XATTR_PREFIXES = ("SCHILY.xattr.", "LIBARCHIVE.xattr.")


@dataclass(frozen=True, slots=True)
class Opaque:
    """The marker that hides what lower layers have below the directory `path`."""

    path: str


class _Source:
    """Counts what is read of the tar."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.position = 0

    def exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        while len(data) < size:
            more = self._stream.read(size - len(data))
            if not more:
                raise CorruptError("a layer's tar ends too early", remedy="fetch it again")
            data += more
        self.position += size
        return data

    def upto(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.position += len(data)
        return data

    def skip(self, size: int) -> None:
        while size > 0:
            size -= len(self.exactly(min(size, 1 << 20)))

    def drain(self) -> None:
        """Read to the end, so that whoever verifies the stream sees all of it."""
        while self.upto(1 << 20):
            pass


@dataclass(slots=True)
class _Pending:
    """What extension headers said of the entry that follows."""

    records: dict[str, bytes] = field(default_factory=dict)
    name: bytes | None = None
    link: bytes | None = None


class Content(io.RawIOBase):
    """The content of the current entry; what is not read is skipped before the next."""

    def __init__(self, source: _Source, size: int) -> None:
        super().__init__()
        self._source = source
        self.left = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        wanted = self.left if size < 0 else min(size, self.left)
        if not wanted:
            return b""
        data = self._source.upto(wanted)
        if not data:
            raise CorruptError("a layer's tar ends too early", remedy="fetch it again")
        self.left -= len(data)
        return data


class _Sparse(io.RawIOBase):
    """A sparse file's content with its holes as zeros."""

    def __init__(self, content: Content, parts: list[tuple[int, int]], size: int) -> None:
        super().__init__()
        self._content = content
        self._parts = parts
        self._position = 0
        self._size = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        wanted = self._size - self._position if size < 0 else min(size, self._size - self._position)
        wanted = min(wanted, 1 << 20)
        if wanted <= 0:
            return b""
        while self._parts and self._parts[0][0] + self._parts[0][1] <= self._position:
            self._parts.pop(0)
        start, length = self._parts[0] if self._parts else (self._size, 0)
        if self._position < start:
            data = bytes(min(wanted, start - self._position))
        else:
            data = self._content.read(min(wanted, start + length - self._position))
        self._position += len(data)
        return data


def read_layer(stream: BinaryIO) -> Iterator[tuple[Entry, BinaryIO | None] | Opaque]:
    """The entries of an uncompressed layer tar, in its order, with content for files; opaque markers apart.

    Whiteouts come as entries of kind "whiteout". Raises CorruptError for damage, ImageError for hostile names. The
    stream is read to its end.
    """
    source = _Source(stream)
    pending = _Pending()
    shared: dict[str, bytes] = {}
    count = 0
    while True:
        block = source.upto(BLOCK_BYTES)
        if not block or not any(block):
            break
        if len(block) < BLOCK_BYTES:
            block += source.exactly(BLOCK_BYTES - len(block))
        _check(block)
        kind = block[156:157]
        size = _number(block[124:136])
        if kind in (b"x", b"g", b"L", b"K"):
            _extension(kind, size, source, pending, shared)
            continue
        count += 1
        if count > MAX_ENTRIES:
            raise ImageError(f"a layer has more than {MAX_ENTRIES} entries", remedy="it is damaged or hostile")
        yield from _member(block, kind, size, source, pending, shared)
        pending = _Pending()
    source.drain()


def _member(
    block: bytes, kind: bytes, size: int, source: _Source, pending: _Pending, shared: dict[str, bytes]
) -> Iterator[tuple[Entry, BinaryIO | None] | Opaque]:
    records = {**shared, **pending.records}
    if "size" in records:
        size = _decimal(records["size"])
    name = _name(block, records, pending)
    kind_name = _KINDS.get(kind)
    if kind_name is None:
        raise CorruptError(f"a layer's tar has an entry of unknown type {kind!r}", remedy="it is no layer")
    if kind_name == "file" and name.endswith("/"):  # old tars mark directories so
        kind_name = "dir"
    stored = size if kind_name == "file" else 0
    if not 0 <= stored <= MAX_FILE_BYTES:
        raise CorruptError(f'"{name}" in a layer claims {stored} bytes', remedy="it is damaged or hostile")
    parts, real_size = _sparse(kind, block, records, source)
    consumed_map = 0
    if parts is None and records.get("GNU.sparse.major") == b"1":
        parts, consumed_map = _sparse_map(source)
        real_size = _decimal(records.get("GNU.sparse.realsize", b"0"))
    content = Content(source, stored - consumed_map)
    base = _entry(block, records, kind_name, name, real_size if parts is not None else stored)
    offset = source.position if parts is None else -1
    reader: BinaryIO | None = None
    if kind_name == "file":
        plain = content if parts is None else _Sparse(content, parts, base.size)
        reader = plain  # type: ignore[assignment]  # RawIOBase reads like a file
    yield from _classified(base._replace(offset=offset if kind_name == "file" else -1), pending, block, records, reader)
    source.skip(content.left + (-stored % BLOCK_BYTES))


def _classified(
    base: Entry, pending: _Pending, block: bytes, records: dict[str, bytes], reader: BinaryIO | None
) -> Iterator[tuple[Entry, BinaryIO | None] | Opaque]:
    """Tell whiteouts, opaque markers, links and device 0:0 apart."""
    path = clean_path(base.path)
    parent, _, last = path.rpartition("/")
    if last == OPAQUE_NAME:
        yield Opaque(parent or ROOT)
    elif last.startswith(WHITEOUT_PREFIX):
        hidden = last[len(WHITEOUT_PREFIX) :]
        if hidden.startswith(WHITEOUT_PREFIX):
            return  # aufs' own bookkeeping, which old builders left in
        if hidden in ("", ".", ".."):
            raise ImageError(f'a layer has the whiteout "{base.path}"', remedy="it is damaged or hostile")
        target = f"{parent}/{hidden}" if parent else hidden
        yield Entry(target, "whiteout", 0, 0, 0, 0, 0, "", (), 0, 0, "", -1, False), None
    elif base.kind == "char" and base.major == base.minor == 0:
        # overlayfs would take it for a whiteout; no program needs such a device
        raise ImageError(f'a layer has the device 0:0 as "{base.path}"', remedy="it is damaged or hostile")
    elif path == ROOT and base.kind != "dir":
        raise ImageError(f"a layer replaces the root by a {base.kind}", remedy="it is damaged or hostile")
    else:
        link = ""
        if base.kind in ("symlink", "hardlink"):
            raw = records.get("linkpath", pending.link if pending.link is not None else _cstring(block[157:257]))
            link = _text(raw)
            if base.kind == "hardlink":
                link = clean_path(link)
            if not link or "\0" in link or (base.kind == "hardlink" and link in (ROOT, path)):
                raise ImageError(f'"{base.path}" in a layer links to "{link}"', remedy="it is damaged or hostile")
        yield base._replace(path=path, link=link), reader


def clean_path(name: str) -> str:
    """A member name as a path of the image; absolute is taken as relative, `..` and NUL are refused."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name or len(name) > MAX_PATH_BYTES:
        raise ImageError(f'a layer has an entry named "{name[:200]!r}"', remedy="it is damaged or hostile")
    return "/".join(parts) or ROOT


def _entry(block: bytes, records: dict[str, bytes], kind: str, name: str, size: int) -> Entry:
    uid = _decimal(records["uid"]) if "uid" in records else _number(block[108:116])
    gid = _decimal(records["gid"]) if "gid" in records else _number(block[116:124])
    if not (0 <= uid < 1 << 32 and 0 <= gid < 1 << 32):
        raise CorruptError(f'"{name}" in a layer belongs to {uid}:{gid}', remedy="it is damaged or hostile")
    device = kind in ("char", "block")
    return Entry(
        name,
        kind,
        _number(block[100:108]) & 0o7777 if kind != "symlink" else 0o777,
        uid,
        gid,
        size if kind == "file" else 0,
        _time(records["mtime"]) if "mtime" in records else _number(block[136:148]) * NANOSECONDS,
        "",
        _xattrs(records),
        _number(block[329:337]) if device else 0,
        _number(block[337:345]) if device else 0,
        "",
        -1,
        False,
    )


def _xattrs(records: dict[str, bytes]) -> tuple[tuple[str, bytes], ...]:
    found = {}
    for key, value in records.items():
        for prefix in _XATTR_PREFIXES[:1]:
            if key.startswith(prefix) and not is_foreign(key[len(prefix) :]):
                found[key[len(prefix) :]] = value
    return tuple(sorted(found.items()))


def _name(block: bytes, records: dict[str, bytes], pending: _Pending) -> str:
    for key in ("GNU.sparse.name", "path"):
        if key in records:
            return _text(records[key])
    if pending.name is not None:
        return _text(pending.name)
    name = _cstring(block[:100])
    prefix = _cstring(block[345:500]) if block[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _extension(kind: bytes, size: int, source: _Source, pending: _Pending, shared: dict[str, bytes]) -> None:
    if not 0 <= size <= MAX_HEADER_BYTES:
        raise CorruptError(f"a layer's tar has a header of {size} bytes", remedy="it is damaged or hostile")
    data = source.exactly(size)
    source.skip(-size % BLOCK_BYTES)
    if kind == b"x":
        pending.records.update(_records(data))
    elif kind == b"g":
        shared.update(_records(data))
    elif kind == b"L":
        pending.name = _cstring(data)
    else:
        pending.link = _cstring(data)


def _records(data: bytes) -> dict[str, bytes]:
    """PAX records: `LENGTH KEY=VALUE` and a newline, the length counting all of it."""
    result: dict[str, bytes] = {}
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 20)
        length = _decimal(data[position:space]) if space > 0 else 0
        end = position + length
        equals = data.find(b"=", space, end)
        if length < 5 or end > len(data) or equals < 0 or data[end - 1 : end] != b"\n":
            raise CorruptError("a layer's tar has a malformed PAX header", remedy="fetch it again")
        key, value = _text(data[space + 1 : equals]), data[equals + 1 : end - 1]
        if key in ("GNU.sparse.offset", "GNU.sparse.numbytes"):  # version 0.0 repeats its keys
            key, value = (
                "GNU.sparse.map",
                result.get("GNU.sparse.map", b"") + b"," * bool(result.get("GNU.sparse.map")) + value,
            )
        result[key] = value
        position = end
    return result


def _sparse(
    kind: bytes, block: bytes, records: dict[str, bytes], source: _Source
) -> tuple[list[tuple[int, int]] | None, int]:
    """The parts of an old GNU or PAX 0.x sparse file and its full size; (None, 0) for other files."""
    if "GNU.sparse.map" in records:
        numbers = [_decimal(text) for text in records["GNU.sparse.map"].split(b",")]
        size = _decimal(records.get("GNU.sparse.size", b"0"))
        return _checked_parts(numbers, size), size
    if kind != b"S":
        return None, 0
    numbers = [_number(block[386 + 12 * i : 398 + 12 * i]) for i in range(8) if any(block[386 + 12 * i : 398 + 12 * i])]
    extended = block[482:483] not in (b"\0", b"0")
    while extended:
        more = source.exactly(BLOCK_BYTES)
        numbers += [_number(more[12 * i : 12 * i + 12]) for i in range(42) if any(more[12 * i : 12 * i + 12])]
        extended = more[504:505] not in (b"\0", b"0")
        if len(numbers) > 2 * MAX_SPARSE_PARTS:
            raise CorruptError("a layer's tar has a sparse file of too many parts", remedy="it is hostile")
    size = _number(block[483:495])
    return _checked_parts(numbers, size), size


def _sparse_map(source: _Source) -> tuple[list[tuple[int, int]], int]:
    """The map of a PAX 1.0 sparse file, which stands before the content; and the bytes it took."""
    start = source.position
    text = b""

    def numbers(wanted: int) -> list[int]:
        nonlocal text
        while text.count(b"\n") < wanted:
            text += source.exactly(BLOCK_BYTES)
            if len(text) > 64 * MAX_SPARSE_PARTS:
                raise CorruptError("a layer's tar has a sparse file of too many parts", remedy="it is hostile")
        return [_decimal(line) for line in text.split(b"\n")[:wanted]]

    count = numbers(1)[0]
    if count > MAX_SPARSE_PARTS:
        raise CorruptError("a layer's tar has a sparse file of too many parts", remedy="it is hostile")
    values = numbers(1 + 2 * count)[1:]
    return _checked_parts(values, MAX_FILE_BYTES), source.position - start


def _checked_parts(numbers: list[int], size: int) -> list[tuple[int, int]]:
    parts = list(zip(numbers[::2], numbers[1::2], strict=False))
    end = 0
    for start, length in parts:
        if start < end or length < 0 or start + length > max(size, 0):
            raise CorruptError("a layer's tar has a malformed sparse file", remedy="it is damaged or hostile")
        end = start + length
    return [part for part in parts if part[1]]


def _check(block: bytes) -> None:
    stored = _number(block[148:156])
    if stored != sum(block[:148]) + 8 * 32 + sum(block[156:]):
        raise CorruptError("a layer's tar has a header with a wrong checksum", remedy="fetch it again")


def _number(data: bytes) -> int:
    """An octal field, or GNU's base 256 when the first bit is set."""
    if data[0] & 0x80:
        value = int.from_bytes(bytes([data[0] & 0x7F]) + data[1:], "big")
        return value - (1 << (8 * len(data) - 1)) if data[0] & 0x40 else value
    text = data.strip(b"\0 ")
    try:
        return int(text, 8) if text else 0
    except ValueError as exc:
        raise CorruptError("a layer's tar has a malformed number", remedy="fetch it again") from exc


def _decimal(data: bytes) -> int:
    if not data.isdigit() or len(data) > 20:
        raise CorruptError("a layer's tar has a malformed PAX number", remedy="fetch it again")
    return int(data)


def _time(data: bytes) -> int:
    """PAX seconds with a fraction, to nanoseconds."""
    text = data.decode("ascii", "replace")
    negative = text.startswith("-")
    seconds, _, fraction = text.lstrip("-").partition(".")
    if not seconds.isdigit() or (fraction and not fraction.isdigit()) or len(seconds) > 12:
        raise CorruptError("a layer's tar has a malformed time", remedy="fetch it again")
    value = int(seconds) * NANOSECONDS + int((fraction + "000000000")[:9])
    return -value if negative else value


def _cstring(data: bytes) -> bytes:
    return data.split(b"\0", 1)[0]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
