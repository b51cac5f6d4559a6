"""Go's filepath.Match for one component of a path."""

from __future__ import annotations

import re
from functools import lru_cache

from builder.errors import DockerfileError


def match_component(pattern: str, name: str) -> bool:
    """Whether `name` matches: `*`, `?`, `[a-z]`, `[^a]`, and a backslash that makes the next character plain."""
    return _compiled(pattern).fullmatch(name) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    out, index = "", 0
    while index < len(pattern):
        char = pattern[index]
        index += 1
        if char == "*":
            out += "[^/]*"
        elif char == "?":
            out += "[^/]"
        elif char == "\\":
            if index == len(pattern):
                raise _bad(pattern)
            out += re.escape(pattern[index])
            index += 1
        elif char == "[":
            group, index = character_class(pattern, index)
            out += group
        else:
            out += re.escape(char)
    return re.compile(out, re.DOTALL)


def character_class(pattern: str, index: int) -> tuple[str, int]:
    """The regular expression for the class that begins after `[` at `index`, and where it ends."""
    negated = pattern[index : index + 1] in ("^", "!") and pattern[index : index + 1] == "^"
    index += negated
    items = ""
    while True:
        if index >= len(pattern):
            raise _bad(pattern)
        if pattern[index] == "]" and items:
            break
        low, index = _class_character(pattern, index)
        if pattern[index : index + 1] == "-":
            high, index = _class_character(pattern, index + 1)
            if high < low:
                raise _bad(pattern)
            items += f"{re.escape(low)}-{re.escape(high)}"
        else:
            items += re.escape(low)
    return f"[{'^' if negated else ''}{items}]", index + 1


def _class_character(pattern: str, index: int) -> tuple[str, int]:
    char = pattern[index : index + 1]
    if char in ("", "-", "]"):
        raise _bad(pattern)
    if char == "\\":
        index += 1
        char = pattern[index : index + 1]
        if not char:
            raise _bad(pattern)
    return char, index + 1


def _bad(pattern: str) -> DockerfileError:
    return DockerfileError(
        f'syntax error in pattern "{pattern}"', remedy="close the bracket, or escape it by a backslash"
    )
