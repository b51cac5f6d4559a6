"""Split the text of an instruction: flags, the JSON form, quoted words, the pairs of ENV, LABEL and ARG.

Nothing is expanded here; quotes and escapes stay in words, for expand.py to remove.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tiffin.builder.errors import DockerfileError
from tiffin.cache.foundation import json_text

_BLANKS = r"[\t\v\f\r ]+"


def split_words(text: str, escape: str = "\\") -> list[str]:
    """Split at blanks outside quotes; quotes and escapes stay in the words. An open quote runs to the end."""
    return [text[start:end] for start, end in _word_spans(text, escape)]


def split_flags(text: str, escape: str = "\\") -> tuple[tuple[tuple[str, str | None], ...], str]:
    """Return the leading `--name[=value]` words without quotes, and the text after them; `--` alone ends the flags."""
    flags: list[tuple[str, str | None]] = []
    rest = text.lstrip()
    while rest.startswith("--"):
        _, end = next(_word_spans(rest, escape))
        word = _unquoted(rest[:end], escape)
        rest = rest[end:].lstrip()
        if word == "--":
            break
        name, equals, value = word[2:].partition("=")
        flags.append((name, value if equals else None))
    return tuple(flags), rest


def json_words(text: str) -> tuple[str, ...] | None:
    """Return the words of a JSON array of strings, or None for the plain form; an array of others raises
    DockerfileError.
    """
    if not text.startswith("["):
        return None
    try:
        words = json_text.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(word, str) for word in words):
        raise DockerfileError(
            "when using JSON array syntax, arrays must be comprised of strings only",
            remedy="put double quotes around every element",
        )
    # "\ud800" is valid JSON, but no text that could be written anywhere
    return tuple(word.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for word in words)


def parse_name_values(text: str, keyword: str, escape: str = "\\") -> tuple[tuple[str, str], ...]:
    """Return the pairs of ENV or LABEL as written; the old form `NAME the rest` is one pair.

    Raises DockerfileError without a span.
    """
    words = split_words(text, escape)
    if not words:
        raise DockerfileError(f"{keyword} requires at least one argument", remedy=f"write {keyword} NAME=VALUE")
    if "=" not in words[0]:
        name, *rest = re.split(_BLANKS, text.strip(), maxsplit=1)
        if not rest:
            raise DockerfileError(f"{keyword} must have two arguments", remedy=f"write {keyword} NAME=VALUE")
        return ((name, rest[0]),)
    pairs = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise DockerfileError(
                f'syntax error - can\'t find = in "{word}"', remedy="every word must be of the form NAME=VALUE"
            )
        if not name:
            raise DockerfileError(f"{keyword} names can not be blank", remedy=f"write {keyword} NAME=VALUE")
        pairs.append((name, value))
    return tuple(pairs)


def is_legacy_form(text: str, escape: str = "\\") -> bool:
    """Whether ENV or LABEL stands in the old form, `NAME the rest`."""
    words = split_words(text, escape)
    return bool(words) and "=" not in words[0]


def parse_args(text: str, escape: str = "\\") -> tuple[tuple[str, str | None], ...]:
    """Return ARG's names, each with its default or None. Raises DockerfileError without a span."""
    result: list[tuple[str, str | None]] = []
    for word in split_words(text, escape):
        name, equals, value = word.partition("=")
        if not name:
            raise DockerfileError("ARG names can not be blank", remedy="write ARG NAME[=DEFAULT]")
        result.append((name, value if equals else None))
    return tuple(result)


def _word_spans(text: str, escape: str) -> Iterator[tuple[int, int]]:
    """Yield where words begin and end. An escape hides the character after it, but not in single quotes."""
    start, quote, index = -1, "", 0
    while index < len(text):
        char = text[index]
        if not quote and char.isspace():
            if start >= 0:
                yield start, index
            start = -1
        elif start < 0:
            start = index
        if char == escape and quote != "'":
            index += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        index += 1
    if start >= 0:
        yield start, len(text)


def _unquoted(word: str, escape: str) -> str:
    """Return `word` without its quotes and escapes; nothing is expanded."""
    plain, quote, index = "", "", 0
    while index < len(word):
        char = word[index]
        index += 1
        if char == escape and quote != "'":
            plain += word[index : index + 1]
            index += 1
        elif char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        else:
            plain += char
    return plain


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not valid JSON")
