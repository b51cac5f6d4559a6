"""Output of programs as plain text: nothing in it moves a cursor, changes a colour or answers for the terminal."""

from __future__ import annotations

import re
from functools import cache

# ECMA-48: CSI …, then the strings OSC DCS SOS PM APC up to their end, then other escapes, then single controls
_CONTROL = (
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)"
    r"|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
# bytes with which one of these begins, in UTF-8
_CONTROL_BYTES = rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]|\xe2\x81[\xa6-\xa9]"
COLOURS = r"\x1b\[[0-9;:]*m"
TAB_WIDTH = 8
_MINUTE, _HOUR = 60, 3600


def plain_line(line: str) -> str:
    """Return one line without control sequences; what a carriage return would overwrite is left out."""
    last = line.rstrip("\r").rpartition("\r")[2]
    return _control().sub("", last).expandtabs(TAB_WIDTH).rstrip()


def plain_bytes(line: bytes, keep: str = "") -> bytes:
    """Return one line of bytes without control sequences, but for those that are `keep` altogether; tabs stay, and
    bytes that are not text.
    """
    last = line.rstrip(b"\r").rpartition(b"\r")[2]
    if not _control_bytes().search(last):
        return last
    text = last.decode("utf-8", "surrogateescape")
    pattern = re.compile(keep) if keep else None
    plain = _control().sub(lambda found: found[0] if pattern and pattern.fullmatch(found[0]) else "", text)
    return plain.encode("utf-8", "surrogateescape")


@cache
def _control_bytes() -> re.Pattern[bytes]:
    return re.compile(_CONTROL_BYTES)


@cache
def _control() -> re.Pattern[str]:
    return re.compile(_CONTROL)


def plain_lines(text: str) -> list[str]:
    """Return the lines of `text`, each plain, without those that are blank."""
    return [plain for line in text.split("\n") if (plain := plain_line(line))]


def shown_name(name: str) -> str:
    """Return a name that may be hostile in one line: what is not printable, or changes the direction of others, is
    written as an escape, so that two names never look alike by it.
    """
    if name.isprintable():
        return name
    return "".join(char if char.isprintable() else _escaped(char) for char in name)


def _escaped(char: str) -> str:
    number = ord(char)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{number - 0xDC00:02x}"
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def size_text(size: int) -> str:
    """Return a size in Docker's units: 1.23MB is 1.23 million bytes."""
    value, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.3g}{units[0]}" if value < 1000 else f"{value:.0f}{units[0]}"


def duration_text(seconds: float) -> str:
    """Return a length of time in docker's words (go-units HumanDuration)."""
    whole = int(seconds)
    minutes, hours = whole // _MINUTE, int(seconds / _HOUR + 0.5)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < _MINUTE:
        return f"{whole} seconds"
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    if hours == 1:
        return "About an hour"
    for unit, length, limit in (("hours", 1, 48), ("days", 24, 336), ("weeks", 168, 1440), ("months", 720, 17520)):
        if hours < limit:
            return f"{hours // length} {unit}"
    return f"{hours // 8760} years"


def rfc3339(seconds: float) -> str:
    """Return a time as images write it, in UTC."""
    from datetime import UTC, datetime  # to load it takes longer than a small command's own work

    moment = datetime.fromtimestamp(seconds, tz=UTC)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{moment.microsecond:06d}Z".replace(".000000Z", "Z")
