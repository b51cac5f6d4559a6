"""The text of modules of Rego: rules and their bodies, statements, comments; no more than regopy leaves to do."""

from __future__ import annotations

import re
from collections.abc import Iterator

TEXT = r'"(?:[^"\\\n]|\\.)*"|`[^`]*`'
_COMMENT = re.compile(rf"({TEXT})|#[^\n]*")
_TEXTS = re.compile(TEXT)
_HEAD = re.compile(r"^(?P<head>[A-Za-z_][^\n{}]*?)\s+if\b[ \t]*", re.MULTILINE)
_OPENING, _CLOSING = "{[(", "}])"


def without_comments(text: str) -> str:
    """Return a module without its comments."""
    return _COMMENT.sub(lambda found: found[1] or "", text)


def bodies_in(plain: str) -> Iterator[tuple[str, str]]:
    """Yield the head and the body of each rule that has one, in a module without comments."""
    for start, end in _rules(plain):
        head = _HEAD.match(plain, start)
        assert head is not None
        body = plain[head.end() : end]
        yield head["head"], body[1:-1] if body.startswith("{") else body


def without_rules(plain: str, prefix: str) -> str:
    """Return a module without its rules whose names begin so."""
    result, at = "", 0
    for start, end in _rules(plain):
        if plain.startswith(prefix, start):
            result += plain[at:start]
            at = end
    return result + plain[at:]


def statements_of(body: str) -> list[str]:
    """Return the statements of a body."""
    return [line.strip() for line in _logical_lines(body) if line.strip()]


def _rules(plain: str) -> Iterator[tuple[int, int]]:
    """Yield where rules with a body begin and end."""
    at = 0
    for head in _HEAD.finditer(plain):
        if head.start() < at:
            continue  # within the body of another
        rest = plain[head.end() :]
        at = head.end() + (_end(rest) if rest.startswith("{") else len(next(_logical_lines(rest), "")))
        yield head.start(), at


def _logical_lines(text: str) -> Iterator[str]:
    """Yield statements: up to the end of a line, or a semicolon, outside all brackets and texts."""
    depth, start = 0, 0
    blank = _TEXTS.sub(lambda found: "x" * len(found[0]), text)
    for at, character in enumerate(blank):
        depth += (character in _OPENING) - (character in _CLOSING)
        if depth == 0 and character in "\n;":
            if text[start:at].strip():
                yield text[start:at]
            start = at + 1
    if text[start:].strip():
        yield text[start:]


def _end(text: str) -> int:
    """Return where the bracket that begins a text is closed, after it."""
    depth = 0
    blank = _TEXTS.sub(lambda found: "x" * len(found[0]), text)
    for at, character in enumerate(blank):
        depth += (character in _OPENING) - (character in _CLOSING)
        if depth == 0:
            return at + 1
    return len(text)
