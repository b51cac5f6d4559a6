"""Output of programs as plain text: nothing in it moves a cursor, changes a colour or answers for the terminal."""

from __future__ import annotations

import re

# ECMA-48: CSI …, then the strings OSC DCS SOS PM APC up to their end, then other escapes, then single controls
_CONTROL = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)"
    r"|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
TAB_WIDTH = 8


def plain_line(line: str) -> str:
    """One line without control sequences; what a carriage return would overwrite is left out."""
    last = line.rstrip("\r").rpartition("\r")[2]
    return _CONTROL.sub("", last).expandtabs(TAB_WIDTH).rstrip()


def plain_lines(text: str) -> list[str]:
    """The lines of `text`, each plain, without those that are blank."""
    return [plain for line in text.split("\n") if (plain := plain_line(line))]


def size_text(size: int) -> str:
    """A size in Docker's units: 1.23MB is 1.23 million bytes."""
    value, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.3g}{units[0]}" if value < 1000 else f"{value:.0f}{units[0]}"
