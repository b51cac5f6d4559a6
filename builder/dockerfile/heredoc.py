"""Heredocs of RUN, COPY and ADD: their markers in an instruction, and their bodies.

A marker is `[fd]<<[-]WORD` at the start of a word, as in BuildKit. Two things are read as a shell reads them where
BuildKit stumbles: arithmetic (`$((1 <<2))` is a shift), and in RUN an operator that ends WORD (`<<EOF|sh`).
"""

from __future__ import annotations

import re

from tiffin.cache.foundation.frozen import dataclass

_MARKER = r"(\d*)<<(-?)[ \t]*(?=[^\s<])"
_SHELL_OPERATORS = "|&;()>"
_MAX_ARITHMETIC_CHARS = 4096  # how far to look for the end of $((; keeps hostile text from costing quadratic time


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """A heredoc announced at `start:end` of an instruction's text."""

    name: str
    fd: int
    expand: bool
    strip_tabs: bool
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Heredoc:
    """A heredoc: `content` is its body with a newline at each line's end; `expand` unless its word was quoted."""

    name: str
    fd: int
    expand: bool
    strip_tabs: bool
    content: str
    raw: str  # the body as written, with the terminator


def find_markers(text: str, *, shell: bool) -> tuple[Marker, ...]:
    """Return the heredoc markers in the words of an instruction; none when a quote stays open.

    `shell`: this is a RUN.
    """
    if "<<" not in text:
        return ()
    found: list[Marker] = []
    index, at_start = 0, True
    while index < len(text):
        if at_start and (marker := _marker(text, index, shell=shell)):
            found.append(marker)
            index, at_start = marker.end, False
            continue
        char = text[index]
        if text.startswith("$((", index) or (at_start and text.startswith("((", index)):
            index = _after_arithmetic(text, index)
        elif char in "'\"":
            index = _after_quote(text, index)
            if index < 0:
                return ()
        else:
            index += 2 if char == "\\" else 1
        at_start = char.isspace()
    return tuple(found)


def _marker(text: str, start: int, *, shell: bool) -> Marker | None:
    match = re.compile(_MARKER).match(text, start)
    if not match:
        return None
    end, name, quoted = _word(text, match.end(), shell=shell)
    if not name or text.startswith("<", end):
        return None
    return Marker(
        name=name,
        fd=int(match[1][:9] or 0),
        expand=not quoted,
        strip_tabs=match[2] == "-",
        start=start,
        end=end,
    )


def _word(text: str, index: int, *, shell: bool) -> tuple[int, str, bool]:
    """Return where the word at `index` ends, the word without quotes, and whether it had any.

    An open quote is not a word.
    """
    name, quoted = "", False
    while index < len(text):
        char = text[index]
        if char.isspace() or char == "<" or (shell and char in _SHELL_OPERATORS):
            break
        if char in "'\"":
            end = _after_quote(text, index)
            if end < 0:
                return len(text), "", True
            inner = text[index + 1 : end - 1]
            name += re.sub(r'\\(["$\\])', r"\1", inner) if char == '"' else inner
            index, quoted = end, True
        elif char == "\\":
            name += text[index + 1 : index + 2]
            index += 2
        else:
            name += char
            index += 1
    return min(index, len(text)), name, quoted


def _after_quote(text: str, start: int) -> int:
    """Return the index after the quote that closes the one at `start`, -1 when none does."""
    quote = text[start]
    index = start + 1
    while index < len(text):
        if text[index] == quote:
            return index + 1
        index += 2 if text[index] == "\\" and quote == '"' else 1
    return -1


def _after_arithmetic(text: str, start: int) -> int:
    """Return the index after `$((…))`; just after its first character when it does not close with both parentheses."""
    depth = 0
    for index in range(start, min(len(text), start + _MAX_ARITHMETIC_CHARS)):
        if text[index] == "(":
            depth += 1
        elif text[index] == ")":
            depth -= 1
            if depth == 0:
                return index + 1 if text[index - 1] == ")" else start + 1
    return start + 1
