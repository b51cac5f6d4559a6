"""Tar headers: POSIX ustar, with a PAX header only where ustar cannot say it. The same bytes for the same entry."""

from __future__ import annotations

from builder.layer.index import Entry

BLOCK_BYTES = 512
USTAR_NAME_BYTES = 100
USTAR_MAX_ID = 0o7777777
USTAR_MAX_SIZE = 0o77777777777
NANOSECONDS = 1_000_000_000
END_OF_ARCHIVE = bytes(2 * BLOCK_BYTES)
_TYPES = {"file": b"0", "hardlink": b"1", "symlink": b"2", "char": b"3", "block": b"4", "dir": b"5", "fifo": b"6"}


def header(entry: Entry, name: str) -> bytes:
    """The header blocks of `entry` under the member name `name` (a directory's ends in a slash)."""
    raw_name, raw_link = name.encode("utf-8", "surrogateescape"), entry.link.encode("utf-8", "surrogateescape")
    size = entry.size if entry.kind == "file" else 0
    seconds, nanoseconds = divmod(entry.mtime_ns, NANOSECONDS)
    records = b""
    if len(raw_name) > USTAR_NAME_BYTES or not raw_name.isascii():
        records += record(b"path", raw_name)
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
        records += record(b"SCHILY.xattr." + key.encode("utf-8", "surrogateescape"), value)
    main = _ustar(
        raw_name,
        entry.mode,
        entry.uid if entry.uid <= USTAR_MAX_ID else 0,
        entry.gid if entry.gid <= USTAR_MAX_ID else 0,
        size if size <= USTAR_MAX_SIZE else 0,
        min(max(seconds, 0), USTAR_MAX_SIZE),
        _TYPES[entry.kind],
        raw_link,
        entry.major,
        entry.minor,
    )
    if not records:
        return main
    pax_name = b"PaxHeaders.0/" + raw_name.rstrip(b"/").rpartition(b"/")[2]
    pax = _ustar(pax_name, 0o644, 0, 0, len(records), 0, b"x", b"", 0, 0)
    return pax + records + padding(len(records)) + main


def padding(size: int) -> bytes:
    """The zeros that fill the last block of `size` bytes."""
    return bytes(-size % BLOCK_BYTES)


def record(key: bytes, value: bytes) -> bytes:
    """A PAX record: its own length in decimal, a space, key=value, newline."""
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while len(text := b"%d" % (len(b"%d" % length) + len(body))) + len(body) != length:
        length = len(text) + len(body)
    return b"%d" % length + body


def _time(mtime_ns: int) -> bytes:
    sign, value = ("-", -mtime_ns) if mtime_ns < 0 else ("", mtime_ns)
    seconds, nanoseconds = divmod(value, NANOSECONDS)
    fraction = f".{nanoseconds:09d}".rstrip("0").rstrip(".")
    return f"{sign}{seconds}{fraction}".encode()


def _ustar(
    name: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    kind: bytes,
    link: bytes,
    major: int,
    minor: int,
) -> bytes:
    """One header block; names too long or not ASCII are cut, a PAX record has the true ones."""
    short_name, short_link = name[:USTAR_NAME_BYTES], link[:USTAR_NAME_BYTES]
    block = b"%-100b%07o\0%07o\0%07o\0%011o\0%011o\0        %b%-100bustar\00000%64b%07o\0%07o\0%167b" % (
        short_name, mode, uid, gid, size, mtime, kind, short_link, b"", major, minor, b"",
    )  # fmt: skip
    block = _zero_filled(block, len(short_name), len(short_link))
    checksum = sum(block)
    return block[:148] + b"%06o\0 " % checksum + block[156:]


def _zero_filled(block: bytes, name_length: int, link_length: int) -> bytes:
    """Replace the spaces that %-formatting filled fields with by zeros, the checksum field apart."""
    return b"".join(
        (
            block[:name_length],
            bytes(USTAR_NAME_BYTES - name_length),
            block[100:157],
            block[157 : 157 + link_length],
            bytes(USTAR_NAME_BYTES - link_length),
            block[257:265],
            bytes(64),
            block[329:345],
            bytes(167),
        )
    )
