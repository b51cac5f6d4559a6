"""The fields of tar headers: octal and base-256 numbers, PAX records and times, text. Nothing but parsing of bytes."""

from __future__ import annotations

from functools import lru_cache

from tiffin.builder.errors import CorruptError

NANOSECONDS = 1_000_000_000
MAX_SECONDS = 1 << 40  # far beyond what any file system stores; keeps times within 64 bits of nanoseconds' quotient
MAX_DECIMAL_DIGITS = 20  # of a 64-bit number
SNIFF_BYTES = 512  # one tar block, which also holds every compression's magic
_AGAIN = "fetch it again"


@lru_cache(4096)  # most files of a layer have the same modes, owners, times
def number(data: bytes) -> int:
    """Return an octal field, or GNU's base 256 when the first bit is set (then it may be negative)."""
    if data[0] & 0x80:
        value = int.from_bytes(bytes([data[0] & 0x7F]) + data[1:], "big")
        return value - (1 << (8 * len(data) - 1)) if data[0] & 0x40 else value
    text = data.strip(b"\0 ")
    if not text:
        return 0
    if not text.isdigit():  # int() would take signs and underscores
        raise CorruptError("a layer's tar has a malformed number", remedy=_AGAIN)
    try:
        return int(text, 8)
    except ValueError as exc:
        raise CorruptError("a layer's tar has a malformed number", remedy=_AGAIN) from exc


def decimal(data: bytes) -> int:
    """Return a PAX number: digits only."""
    if not data.isdigit() or len(data) > MAX_DECIMAL_DIGITS:
        raise CorruptError("a layer's tar has a malformed PAX number", remedy=_AGAIN)
    return int(data)


def seconds_to_ns(seconds: int) -> int:
    """Return a header's time in nanoseconds."""
    if abs(seconds) > MAX_SECONDS:
        raise CorruptError("a layer's tar has a time out of range", remedy=_AGAIN)
    return seconds * NANOSECONDS


def pax_time(data: bytes) -> int:
    """Return the nanoseconds of PAX seconds with a fraction; finer digits are cut."""
    negative = data.startswith(b"-")
    seconds, _, fraction = data[negative:].partition(b".")
    if not seconds.isdigit() or len(seconds) > MAX_DECIMAL_DIGITS or (fraction and not fraction.isdigit()):
        raise CorruptError("a layer's tar has a malformed time", remedy=_AGAIN)
    value = seconds_to_ns(int(seconds)) + int((fraction + b"000000000")[:9])
    return -value if negative else value


def pax_records(data: bytes) -> dict[str, bytes]:
    """Parse PAX records: `LENGTH KEY=VALUE` and a newline, the length counting all of it. The last of equal keys
    counts.
    """
    result: dict[str, bytes] = {}
    sparse_map: list[bytes] = []  # version 0.0 repeats its keys, one pair for each part
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + MAX_DECIMAL_DIGITS)
        length = decimal(data[position:space]) if space > 0 else 0
        end = position + length
        equals = data.find(b"=", space, end)
        if length < 5 or equals < 0 or data[end - 1 : end] != b"\n":
            raise CorruptError("a layer's tar has a malformed PAX header", remedy=_AGAIN)
        key, value = text(data[space + 1 : equals]), data[equals + 1 : end - 1]
        if key in ("GNU.sparse.offset", "GNU.sparse.numbytes"):
            sparse_map.append(value)
        else:
            result[key] = value
        position = end
    if sparse_map:
        result["GNU.sparse.map"] = b",".join(sparse_map)
    return result


def cstring(data: bytes) -> bytes:
    """Return what stands before the first NUL."""
    return data.split(b"\0", 1)[0]


def text(data: bytes) -> str:
    """Return bytes of a name as text; what is not UTF-8 becomes surrogates."""
    return data.decode("utf-8", "surrogateescape")


def looks_like_tar(head: bytes) -> bool:
    """Tell whether a block begins a tar: its header's checksum decides (old tars have no magic)."""
    if len(head) < SNIFF_BYTES or not head[0]:
        return False
    try:
        stored = int(head[148:156].strip(b"\0 ") or b"-", 8)
    except ValueError:
        return False
    return stored == sum(head[:148]) + 8 * ord(" ") + sum(head[156:SNIFF_BYTES])
