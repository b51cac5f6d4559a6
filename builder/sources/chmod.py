"""chmod's arguments: octal, and symbolic as in `u=rwX,go=rX`."""

from __future__ import annotations

import re

_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)")
_ACTION = re.compile(r"([-+=])([rwxXstugo]*)")
_SHIFT = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 4, "w": 2, "x": 1}


def change_mode(text: str, mode: int, *, is_directory: bool) -> int:
    """Apply `text` (already checked) to `mode`; the umask plays no part, an empty who means all."""
    if text[:1].isdigit():
        return int(text, 8)
    for clause in text.split(","):
        match = _CLAUSE.fullmatch(clause)
        assert match is not None, text
        who = set(match[1]) or {"a"}
        if "a" in who:
            who = {"u", "g", "o"}
        for operator, names in _ACTION.findall(match[2]):
            mode = _apply(mode, who, operator, names, is_directory)
    return mode


def _apply(mode: int, who: set[str], operator: str, names: str, is_directory: bool) -> int:
    bits, mask = 0, 0
    for person in who:
        shift = _SHIFT[person]
        mask |= 7 << shift
        bits |= _permissions(mode, names, is_directory) << shift
    if "s" in names:
        bits |= (0o4000 if "u" in who else 0) | (0o2000 if "g" in who else 0)
    if "t" in names:
        bits |= 0o1000
    if operator == "+":
        return mode | bits
    if operator == "-":
        return mode & ~bits
    mask |= (0o4000 if "u" in who else 0) | (0o2000 if "g" in who else 0)
    return (mode & ~mask) | bits


def _permissions(mode: int, names: str, is_directory: bool) -> int:
    """Return the rwx bits that `names` mean; one of u, g, o copies that person's."""
    bits = 0
    for name in names:
        if name in _SHIFT:
            bits |= mode >> _SHIFT[name] & 7
        elif name == "X":
            bits |= 1 if is_directory or mode & 0o111 else 0
        else:
            bits |= _BITS.get(name, 0)
    return bits
