"""The beginning of a file of an image, as text or as bytes."""

from __future__ import annotations

from tiffin.cache.foundation.frozen import dataclass

HEAD_BYTES = 256 << 10  # of a file are shown
BINARY_BYTES = 4096  # of one that is no text
LINE_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHead:
    """Lines to show: of text as they are, of anything else as offsets, hex digits and letters. `note` says what is left
    out, "" for nothing.
    """

    lines: tuple[str, ...]
    is_text: bool
    note: str = ""


def head_of(data: bytes, size: int) -> FileHead:
    """Tell what a file of `size` bytes begins with, of which `data` are the first."""
    text = _text(data, is_whole=len(data) >= size)
    if text is None:
        shown = data[:BINARY_BYTES]
        note = f"the first {len(shown)} of {size} bytes" if size > len(shown) else ""
        return FileHead(lines=tuple(_hex_lines(shown)), is_text=False, note=note)
    note = f"the first {len(data)} of {size} bytes" if size > len(data) else ""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return FileHead(lines=tuple(lines), is_text=True, note=note)


def _text(data: bytes, *, is_whole: bool) -> str | None:
    """Return it as text, None where it is none; a character that is cut off at the end is left out."""
    if b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        if is_whole or exc.end < len(data) or exc.reason != "unexpected end of data":
            return None
        return data[: exc.start].decode("utf-8")


def _hex_lines(data: bytes) -> list[str]:
    lines = []
    for start in range(0, len(data), LINE_BYTES):
        part = data[start : start + LINE_BYTES]
        digits = " ".join(f"{byte:02x}" for byte in part)
        letters = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
        lines.append(f"{start:08x}  {digits:<{LINE_BYTES * 3}} {letters}")
    return lines
