"""Tar headers: POSIX ustar, with a PAX header only where ustar cannot say it. The same bytes for the same entry."""

from __future__ import annotations

import struct
from functools import lru_cache

from tiffin.builder.errors import BuildError
from tiffin.builder.layer.index import Entry

BLOCK_BYTES = 512
USTAR_NAME_BYTES = 100
USTAR_PREFIX_BYTES = 155
USTAR_MAX_ID = 0o7777777
USTAR_MAX_SIZE = 0o77777777777
NANOSECONDS = 1_000_000_000
END_OF_ARCHIVE = bytes(2 * BLOCK_BYTES)
WHITEOUT_PREFIX = ".wh."  # image-spec layer.md#whiteouts
OPAQUE_NAME = ".wh..wh..opq"
_TYPES = {"file": b"0", "hardlink": b"1", "symlink": b"2", "char": b"3", "block": b"4", "dir": b"5", "fifo": b"6"}
_USTAR = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_NO_CHECKSUM = b" " * 8


def header(entry: Entry, name: str) -> bytes:
    """Return the header blocks of `entry` under the member name `name` (a directory's ends in a slash)."""
    raw_name, raw_link = name.encode("utf-8", "surrogateescape"), entry.link.encode("utf-8", "surrogateescape")
    size = entry.size if entry.kind == "file" else 0
    seconds, nanoseconds = divmod(entry.mtime_ns, NANOSECONDS)
    short_name, prefix = _split(raw_name)
    records = b""
    if not short_name:
        records += record(b"path", raw_name)
        short_name = raw_name[:USTAR_NAME_BYTES]
    if len(raw_link) > USTAR_NAME_BYTES or not raw_link.isascii():
        records += record(b"linkpath", raw_link)
    if entry.uid > USTAR_MAX_ID:
        records += record(b"uid", b"%d" % entry.uid)
    if entry.gid > USTAR_MAX_ID:
        records += record(b"gid", b"%d" % entry.gid)
    if size > USTAR_MAX_SIZE:
        records += record(b"size", b"%d" % size)
    if nanoseconds or not 0 <= seconds <= USTAR_MAX_SIZE:
        records += record(b"mtime", _time(entry.mtime_ns))
    for key, value in entry.xattrs:
        records += _xattr(entry, key, value)
    main = _ustar(entry, short_name, prefix, size, min(max(seconds, 0), USTAR_MAX_SIZE), raw_link)
    if not records:
        return main
    return _pax_header(raw_name, records) + records + padding(len(records)) + main


def padding(size: int) -> bytes:
    """Return the zeros that fill the last block of `size` bytes."""
    return bytes(-size % BLOCK_BYTES)


def record(key: bytes, value: bytes) -> bytes:
    """Return a PAX record: its own length in decimal, a space, key=value, newline."""
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while len(text := b"%d" % (len(b"%d" % length) + len(body))) + len(body) != length:
        length = len(text) + len(body)
    return b"%d" % length + body


def _split(name: bytes) -> tuple[bytes, bytes]:
    """Name and prefix as ustar holds them; ("", "") where it cannot, as for anything but ASCII."""
    if not name.isascii():
        return b"", b""
    if len(name) <= USTAR_NAME_BYTES:
        return name, b""
    # the last slash that leaves a prefix short enough; a directory's own slash at the end does not count
    cut = name.rfind(b"/", 0, min(USTAR_PREFIX_BYTES + 1, len(name) - 1))
    if cut <= 0 or len(name) - cut - 1 > USTAR_NAME_BYTES:
        return b"", b""
    return name[cut + 1 :], name[:cut]


def _xattr(entry: Entry, key: str, value: bytes) -> bytes:
    if "=" in key:  # readers end the key at the first one
        raise BuildError(
            f'the extended attribute "{key}" of "{entry.path}" cannot be in a layer', remedy="remove the attribute"
        )
    return record(b"SCHILY.xattr." + key.encode("utf-8", "surrogateescape"), value)


def _time(mtime_ns: int) -> bytes:
    sign, value = ("-", -mtime_ns) if mtime_ns < 0 else ("", mtime_ns)
    seconds, nanoseconds = divmod(value, NANOSECONDS)
    fraction = f".{nanoseconds:09d}".rstrip("0").rstrip(".")
    return f"{sign}{seconds}{fraction}".encode()


def _pax_header(name: bytes, records: bytes) -> bytes:
    last = name.rstrip(b"/").rpartition(b"/")[2]
    fields = (b"PaxHeaders.0/" + last)[:USTAR_NAME_BYTES], b"0000644\0", b"0000000\0", b"0000000\0"
    return _summed(*fields, b"%011o\0" % len(records), b"00000000000\0", b"x", b"", _octal(0), _octal(0), b"")


def _ustar(entry: Entry, name: bytes, prefix: bytes, size: int, seconds: int, link: bytes) -> bytes:
    """Return one header block; what does not fit is cut or zero, a PAX record has it then."""
    return _summed(
        name,
        _octal(entry.mode),
        _octal(entry.uid if entry.uid <= USTAR_MAX_ID else 0),
        _octal(entry.gid if entry.gid <= USTAR_MAX_ID else 0),
        b"%011o\0" % (size if size <= USTAR_MAX_SIZE else 0),
        b"%011o\0" % seconds,
        _TYPES[entry.kind],
        link[:USTAR_NAME_BYTES],
        _octal(entry.major),
        _octal(entry.minor),
        prefix,
    )


@lru_cache(1024)  # modes and owners are few
def _octal(value: int) -> bytes:
    return b"%07o\0" % value


def _summed(
    name: bytes,
    mode: bytes,
    uid: bytes,
    gid: bytes,
    size: bytes,
    mtime: bytes,
    kind: bytes,
    link: bytes,
    major: bytes,
    minor: bytes,
    prefix: bytes,
) -> bytes:
    """Return a block of these fields with its checksum."""
    block = _USTAR.pack(
        name, mode, uid, gid, size, mtime, _NO_CHECKSUM, kind, link, b"ustar\00000", b"", b"", major, minor, prefix
    )
    return b"%b%06o\0 %b" % (block[:148], sum(block), block[156:])
