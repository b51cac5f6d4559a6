"""Read a layer's tar as a stream of entries: ustar, PAX, GNU long names, base-256 numbers, sparse files.

Made for hostile input: names are not repaired but refused when they lead anywhere odd, every length has a limit, and
nothing is written here. image-spec layer.md; POSIX pax; GNU tar manual, "Basic Tar Format".

Left out on purpose: overlayfs' and tiffin's own attributes, trusted.* and security.selinux; aufs' bookkeeping
(.wh..wh.*); access and change times.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from tiffin.builder.errors import CorruptError, ImageError
from tiffin.builder.layer.disk import xattrs
from tiffin.builder.layer.index import Entry, located, new_entry
from tiffin.builder.layer.paths import ROOT
from tiffin.builder.layer.tar import sparse as tar_sparse
from tiffin.builder.layer.tar.fields import cstring, decimal, number, pax_records, pax_time, seconds_to_ns, text
from tiffin.builder.layer.tar.writer import OPAQUE_NAME, WHITEOUT_PREFIX

BLOCK_BYTES = 512
READ_BYTES = 1 << 18  # asked of the stream at a time; whoever hashes behind it is worth calling then
MAX_HEADER_BYTES = 1 << 20  # PAX records and long names of one entry, or of all entries together
MAX_SHARED_BYTES = 16 << 20  # of all global headers together
MAX_ENTRIES = 2_000_000  # a large distribution has 500,000 files; the table of an entry takes up to a kilobyte
MAX_PATH_BYTES = 4095  # the kernel's PATH_MAX without its NUL
MAX_NAME_BYTES = 255  # of one component, on every file system Linux has
MAX_FILE_BYTES = 1 << 43  # 8 TiB; a size beyond is a lie
MAX_HOLE_BYTES = 1 << 36  # of all sparse files together: they cost an attacker nothing, and us the time to hash zeros
MAX_ID = (1 << 32) - 2  # 2**32 - 1 means "leave as it is" to chown
MAX_DEVICE_NUMBER = (1 << 20) - 1  # the kernel's minor has 20 bits
_HOSTILE = "it is damaged or hostile"
_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s")
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
_XATTR_PREFIX = "SCHILY.xattr."


@dataclass(frozen=True, slots=True)
class Opaque:
    """The marker that hides what lower layers have below the directory `path`."""

    path: str


class _Source:
    """Serves a stream in small pieces, and counts them."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._buffer = b""
        self._at = 0
        self.position = 0

    def some(self, size: int) -> bytes:
        """Return between one byte and `size`; none at the end."""
        if self._at >= len(self._buffer):
            self._buffer, self._at = self._stream.read(max(READ_BYTES, min(size, 1 << 20))), 0
        data = self._buffer[self._at : self._at + size]
        self._at += len(data)
        self.position += len(data)
        return data

    def take(self, size: int) -> bytes:
        """Return exactly `size` bytes; raises CorruptError if there are not so many."""
        data = self.some(size)
        while len(data) < size:
            more = self.some(size - len(data))
            if not more:
                raise CorruptError("a layer's tar ends too early", remedy="fetch it again")
            data += more
        return data

    def skip(self, size: int) -> None:
        while size > 0:
            data = self.some(size)
            if not data:
                raise CorruptError("a layer's tar ends too early", remedy="fetch it again")
            size -= len(data)

    def drain(self) -> None:
        """Read to the end, so that whoever verifies the stream sees all of it."""
        while self.some(READ_BYTES):
            pass


@dataclass(slots=True)
class _Pending:
    """What extension headers said of the entry that follows."""

    records: dict[str, bytes] = field(default_factory=dict)
    name: bytes | None = None
    link: bytes | None = None
    size_bytes: int = 0


_NOTHING = _Pending()


class _Content(io.RawIOBase):
    """The content of the current entry; what is not read is skipped before the next."""

    def __init__(self, source: _Source, size: int) -> None:
        super().__init__()
        self._source = source
        self.left = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        wanted = self.left if size < 0 else min(size, self.left)
        if not wanted:
            return b""
        data = self._source.some(wanted)
        if not data:
            raise CorruptError("a layer's tar ends too early", remedy="fetch it again")
        self.left -= len(data)
        return data


def read_layer(stream: BinaryIO) -> Iterator[tuple[Entry, BinaryIO | None] | Opaque]:
    """Return the entries of an uncompressed layer tar, in its order, with content for files; opaque markers apart.

    Whiteouts come as entries of kind "whiteout". Raises CorruptError for damage, ImageError for hostile names. The
    stream is read to its end. Content must be read before the next entry is asked for; `read(n)` may give less.
    """
    return _Reader(_Source(stream)).entries()


def read_members(stream: BinaryIO) -> Iterator[tuple[Entry, BinaryIO | None]]:
    """Yield the members of an uncompressed tar that is not a layer: names of whiteouts are names.

    Else as `read_layer`.
    """
    for item in _Reader(_Source(stream), whiteouts=False).entries():
        assert not isinstance(item, Opaque)
        yield item


class _Reader:
    def __init__(self, source: _Source, *, whiteouts: bool = True) -> None:
        self._source = source
        self._whiteouts = whiteouts
        self._pending: _Pending | None = None
        self._shared: dict[str, bytes] = {}  # of global headers
        self._shared_bytes = 0  # read of global headers, however little they say
        self._hole_bytes = 0

    def entries(self) -> Iterator[tuple[Entry, BinaryIO | None] | Opaque]:
        source = self._source
        count = 0
        while block := source.some(BLOCK_BYTES):
            if len(block) < BLOCK_BYTES:
                block += source.take(BLOCK_BYTES - len(block))
            if not block[0] and not any(block):
                break
            _check(block)
            kind = block[156:157]
            if kind in b"xgLK":
                self._extension(kind, number(block[124:136]))
                continue
            count += 1
            if count > MAX_ENTRIES:
                raise ImageError(f"a layer has more than {MAX_ENTRIES} entries", remedy=_HOSTILE)
            yield from self._member(block, kind)
            self._pending = None
        if self._pending is not None:
            raise CorruptError("a layer's tar ends too early", remedy="fetch it again")
        source.drain()

    def _extension(self, kind: bytes, size: int) -> None:
        """Take a header that speaks of the next entry, or (g) of all that follow."""
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise CorruptError(f"a layer's tar has a header of {size} bytes", remedy=_HOSTILE)
        data = self._source.take(size)
        self._source.skip(-size % BLOCK_BYTES)
        if kind == b"g":
            self._shared.update(pax_records(data))
            self._shared_bytes += size
            kept = sum(len(key) + len(value) for key, value in self._shared.items())
            if kept > MAX_HEADER_BYTES or self._shared_bytes > MAX_SHARED_BYTES:
                raise CorruptError("a layer's tar has global headers without end", remedy=_HOSTILE)
            return
        pending = self._pending = self._pending or _Pending()
        pending.size_bytes += size
        if pending.size_bytes > 2 * MAX_HEADER_BYTES:
            raise CorruptError("a layer's tar has headers without end", remedy=_HOSTILE)
        if kind == b"x":
            pending.records.update(pax_records(data))
        elif kind == b"L":
            pending.name = cstring(data)
        else:
            pending.link = cstring(data)

    def _member(self, block: bytes, kind: bytes) -> Iterator[tuple[Entry, BinaryIO | None] | Opaque]:
        pending = self._pending or _NOTHING
        records = pending.records
        if self._shared:
            records = {**self._shared, **records}
        if records:
            records = {key: value for key, value in records.items() if value or key.startswith(_XATTR_PREFIX)}
        entry = _entry(block, _KINDS.get(kind, ""), records, pending)
        if entry.kind != "file":
            classified = _classified(entry, None, self._whiteouts)
            if classified is not None:
                yield classified
            return
        stored = entry.size
        if not 0 <= stored <= MAX_FILE_BYTES:
            raise CorruptError(f'"{entry.path}" in a layer claims {stored} bytes', remedy=_HOSTILE)
        entry, content, reader = self._content(entry, block, kind, records)
        classified = _classified(entry, cast(BinaryIO, reader), self._whiteouts)
        if classified is not None:
            yield classified
        self._source.skip(content.left + (-stored % BLOCK_BYTES))

    def _content(
        self, entry: Entry, block: bytes, kind: bytes, records: dict[str, bytes]
    ) -> tuple[Entry, _Content, io.RawIOBase]:
        """Return the entry with its true size and offset, what lies in the tar, and what the file holds."""
        source, stored = self._source, entry.size
        if kind != b"S" and not records:
            content = _Content(source, stored)
            return located(entry, entry.digest, source.position), content, content
        parts = tar_sparse.header_parts(kind, block, records, source.take)
        if parts is None and (found := tar_sparse.data_parts(records, source.take)) is not None:
            parts = found[:2]
            stored -= found[2]
        if parts is None:
            content = _Content(source, stored)
            return located(entry, entry.digest, source.position), content, content
        self._hole_bytes += max(parts[1] - stored, 0)
        if sum(length for _, length in parts[0]) != stored or self._hole_bytes > MAX_HOLE_BYTES:
            raise CorruptError(f'"{entry.path}" in a layer claims to be {parts[1]} bytes long', remedy=_HOSTILE)
        content = _Content(source, stored)
        return entry._replace(size=parts[1]), content, tar_sparse.SparseContent(content, *parts)


def _check(block: bytes) -> None:
    stored, sums = number(block[148:156]), block[:148] + block[156:]
    total = sum(sums) + 8 * 32  # the field itself counts as spaces
    # old tars on machines with signed characters summed those
    if stored != total and stored != total - 256 * sum(byte > 127 for byte in sums):
        raise CorruptError("a layer's tar has a header with a wrong checksum", remedy="fetch it again")


def _entry(block: bytes, kind: str, records: dict[str, bytes], pending: _Pending) -> Entry:
    """Return the entry as the headers say; the path not yet checked."""
    raw, mode, uid, gid, size, mtime, _, flag, link, magic, _, _, major, minor, prefix, tail = _HEADER.unpack(block)
    name = _name(raw, prefix, magic, tail, records, pending)
    if not kind:
        raise CorruptError(f'"{name}" in a layer\'s tar is of the unknown type {flag!r}', remedy="it is not a layer")
    if kind == "file" and name.endswith("/"):  # old tars mark directories so
        kind = "dir"
    target = ""
    if kind in ("symlink", "hardlink"):
        target = text(records["linkpath"] if "linkpath" in records else pending.link or cstring(link))
    owner_id = decimal(records["uid"]) if "uid" in records else number(uid)
    group_id = decimal(records["gid"]) if "gid" in records else number(gid)
    time_ns = pax_time(records["mtime"]) if "mtime" in records else seconds_to_ns(number(mtime))
    found: tuple[tuple[str, bytes], ...] = ()
    if records:
        found = xattrs.from_layer(
            {key[len(_XATTR_PREFIX) :]: value for key, value in records.items() if key.startswith(_XATTR_PREFIX)}
        )
        found = xattrs.agreeing(found, number(mode))
    device = (number(major), number(minor)) if kind in ("char", "block") else (0, 0)
    if not (0 <= owner_id <= MAX_ID and 0 <= group_id <= MAX_ID):
        raise CorruptError(f'"{name}" in a layer belongs to {owner_id}:{group_id}', remedy=_HOSTILE)
    if not (min(device) >= 0 and max(device) <= MAX_DEVICE_NUMBER):
        raise CorruptError(f'"{name}" in a layer is the device {device[0]}:{device[1]}', remedy=_HOSTILE)
    length = 0
    if kind == "file":
        length = decimal(records["size"]) if "size" in records else number(size)
    permissions = 0o777 if kind == "symlink" else number(mode) & 0o7777
    return Entry(name, kind, permissions, owner_id, group_id, length, time_ns, target, found, *device, "", -1, False)


def _name(raw: bytes, prefix: bytes, magic: bytes, tail: bytes, records: dict[str, bytes], pending: _Pending) -> str:
    if records:
        for key in ("GNU.sparse.name", "path"):
            if key in records:
                return text(records[key])
    if pending.name is not None:
        return text(pending.name)
    name = cstring(raw)
    if prefix[0] and magic[:6] == b"ustar\0":
        # Schily's tar keeps times behind the first 131 bytes
        prefix = cstring(prefix[:131] if tail[8:] == b"tar\0" else prefix)
        name = prefix + b"/" + name
    return text(name)


def _classified(
    entry: Entry, reader: BinaryIO | None, whiteouts: bool
) -> tuple[Entry, BinaryIO | None] | Opaque | None:
    """Check names; tell whiteouts, opaque markers and device 0:0 apart. None for what is to be left out."""
    path = clean_path(entry.path)
    if whiteouts and WHITEOUT_PREFIX in path:
        parent, _, last = path.rpartition("/")
        if last == OPAQUE_NAME:
            return Opaque(parent or ROOT)
        if last.startswith(WHITEOUT_PREFIX):
            return _whiteout(parent, last[len(WHITEOUT_PREFIX) :])
    if entry.kind == "char" and entry.major == entry.minor == 0:
        # overlayfs would take it for a whiteout; no program needs such a device
        raise ImageError(f'a layer has the device 0:0 as "{path}"', remedy=_HOSTILE)
    if path == ROOT and entry.kind != "dir":
        raise ImageError(f"a layer replaces the root by a {entry.kind}", remedy=_HOSTILE)
    link = entry.link
    if entry.kind == "hardlink":
        link = clean_path(link)
    if entry.kind in ("symlink", "hardlink"):
        size = len(link.encode("utf-8", "surrogateescape"))
        if not 0 < size <= MAX_PATH_BYTES or "\0" in link or (entry.kind == "hardlink" and link in (ROOT, path)):
            raise ImageError(f'"{path}" in a layer links to "{link[:200]}"', remedy=_HOSTILE)
    return (entry if (path, link) == (entry.path, entry.link) else entry._replace(path=path, link=link)), reader


def _whiteout(parent: str, hidden: str) -> tuple[Entry, BinaryIO | None] | None:
    if hidden.startswith(WHITEOUT_PREFIX):
        return None  # aufs' own bookkeeping, which old builders left in
    if hidden in ("", ".", ".."):
        raise ImageError(f'a layer has the whiteout "{WHITEOUT_PREFIX}{hidden}"', remedy=_HOSTILE)
    return new_entry(f"{parent}/{hidden}" if parent else hidden, "whiteout", 0), None


def clean_path(name: str) -> str:
    """Return a member name as a path of the image; absolute is taken as relative, `..`, NUL and what is too long
    refused.
    """
    path = name[:-1] if name.endswith("/") else name
    if path.startswith(("/", "./")) or "//" in path or "/./" in path or path in ("", ".") or path.endswith(("/.", "/")):
        path = "/".join(part for part in path.split("/") if part not in ("", "."))
    raw_size = len(path) if path.isascii() else len(path.encode("utf-8", "surrogateescape"))
    parts = path.split("/") if ".." in path or raw_size > MAX_NAME_BYTES else ()
    if not name or "\0" in path or ".." in parts or raw_size > MAX_PATH_BYTES or _has_long(parts, path.isascii()):
        raise ImageError(f'a layer has an entry named "{name[:200]}"', remedy=_HOSTILE)
    return path or ROOT


def _has_long(parts: Sequence[str], is_ascii: bool) -> bool:
    if is_ascii:
        return max(map(len, parts), default=0) > MAX_NAME_BYTES
    return any(len(part.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES for part in parts)
