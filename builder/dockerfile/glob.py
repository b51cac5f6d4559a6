"""Patterns for paths: Go's filepath.Match, and its variant with `**` of .dockerignore, --exclude and --parents.

The variant follows moby/patternmatcher, but brackets and escapes keep filepath.Match's meaning beside a wildcard too,
where that one hands some of them (`[*]`, `^`, `\\d`) to its regular expressions as they are.
"""

from __future__ import annotations

import re
from functools import lru_cache

from tiffin.builder.errors import DockerfileError
from tiffin.cache.foundation.frozen import dataclass

STAR, TREE, REST = "star", "tree", "rest"  # `*`; `**/` or `**` before something; `**` at the end
LITERAL, ESCAPED, ANY, CLASS = "literal", "escaped", "any", "class"


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str  # as a regular expression


def match_component(pattern: str, name: str) -> bool:
    """Whether `name` matches: `*`, `?`, `[a-z]`, `[^a]`, and a backslash that makes the next character plain."""
    return _component(pattern).fullmatch(name) is not None


def match_path(pattern: str, path: str) -> bool:
    """Whether the whole `path` matches `pattern`, in which `**` is any number of directories."""
    return _path(pattern).fullmatch(path) is not None


def is_literal(pattern: str) -> bool:
    """Whether `pattern` matches nothing but itself."""
    return not any(char in pattern for char in "*?[\\")


def path_regex(pattern: str) -> str:
    """Return the regular expression (for DOTALL) of a pattern in which `**` is any number of directories, also none.

    `**` at the end takes everything; `**` at the beginning of otherwise plain text takes any beginning (`**.go`).
    Raises DockerfileError without a span.
    """
    tokens = _tokens(pattern, tree=True)
    if tokens and tokens[0] == _Token(TREE, "") and all(token.kind == LITERAL for token in tokens[1:]):
        return ".*" + "".join(token.text for token in tokens[1:])
    parts: list[list[_Token]] = [[]]
    out = ""
    for token in tokens:
        if token.kind in (TREE, REST):
            out += _sequence(parts.pop()) + (".*" if token.kind == REST else "(?:.*/)?")
            parts.append([])
        else:
            parts[-1].append(token)
    return out + _sequence(parts[-1])


def check_pattern(pattern: str) -> None:
    """Raise DockerfileError without a span unless filepath.Match could use `pattern`."""
    _tokens(pattern, tree=False)


@lru_cache(maxsize=1024)
def _component(pattern: str) -> re.Pattern[str]:
    return re.compile(_sequence(_tokens(pattern, tree=False)), re.DOTALL)


@lru_cache(maxsize=1024)
def _path(pattern: str) -> re.Pattern[str]:
    return re.compile(path_regex(pattern), re.DOTALL)


def _sequence(tokens: list[_Token]) -> str:
    """Translate tokens without `**`. Between two stars the leftmost match is as good as any, so it is never given back.

    A class may match a slash, which a star does not; then all ways are tried.
    """
    parts = [""]
    for token in tokens:
        if token.kind == STAR:
            parts.append("")
        else:
            parts[-1] += token.text
    first, *rest = parts
    if any(token.kind == CLASS for token in tokens):
        return first + "".join(f"[^/]*{part}" for part in rest)
    return first + "".join(
        f"(?>[^/]*?{part})" if number < len(rest) else f"[^/]*{part}"
        for number, part in enumerate(rest, start=1)
        if part or number == len(rest)
    )


def _tokens(pattern: str, *, tree: bool) -> list[_Token]:
    tokens: list[_Token] = []
    index = 0
    while index < len(pattern):
        char = pattern[index]
        index += 1
        if char == "*" and tree and pattern[index : index + 1] == "*":
            index += 1
            slash = pattern[index : index + 1] == "/"
            index += slash
            token = _Token(TREE if index < len(pattern) else REST, "/" if slash else "")
            if token.kind == REST or not (slash and tokens and tokens[-1].kind == TREE):
                tokens.append(token)  # a second **/ adds nothing but time
        elif char == "*":
            tokens.append(_Token(STAR, ""))
        elif char == "?":
            tokens.append(_Token(ANY, "[^/]"))
        elif char == "[":
            text, index = _class(pattern, index)
            tokens.append(_Token(CLASS, text))
        elif char == "\\":
            if index == len(pattern):
                raise _bad(pattern, "it ends in a backslash")
            tokens.append(_Token(ESCAPED, re.escape(pattern[index])))
            index += 1
        else:
            tokens.append(_Token(LITERAL, re.escape(char)))
    return tokens


def _class(pattern: str, index: int) -> tuple[str, int]:
    """Return the regular expression for the class that begins after `[` at `index`, and where it ends."""
    negated = pattern.startswith("^", index)
    index += negated
    items = ""
    while not (items and pattern.startswith("]", index)):
        low, index = _class_character(pattern, index)
        high = low
        if pattern.startswith("-", index):
            high, index = _class_character(pattern, index + 1)
        if high < low:
            raise _bad(pattern, f"the range {low}-{high} is empty")
        items += re.escape(low) if high == low else f"{re.escape(low)}-{re.escape(high)}"
    return f"[{'^' if negated else ''}{items}]", index + 1


def _class_character(pattern: str, index: int) -> tuple[str, int]:
    index += pattern.startswith("\\", index)
    char = pattern[index : index + 1]
    if not char:
        raise _bad(pattern, "a bracket is not closed")
    if char in "-]" and pattern[index - 1] != "\\":
        raise _bad(pattern, f"'{char}' in brackets needs a backslash")
    return char, index + 1


def _bad(pattern: str, reason: str) -> DockerfileError:
    return DockerfileError(
        f'syntax error in pattern "{pattern}": {reason}',
        remedy="put a backslash before characters that are meant literally",
    )
