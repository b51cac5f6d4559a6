"""Split arguments into words, quotes kept: the forms of ENV, LABEL and ARG."""

from __future__ import annotations

from typing import NamedTuple

from builder.errors import DockerfileError


class NameValue(NamedTuple):
    """A pair as written; neither part is expanded."""

    name: str
    value: str


def split_words(text: str, escape: str = "\\") -> list[str]:
    """Words separated by blanks outside quotes; quotes and escapes stay in them. An open quote runs to the end."""
    words: list[str] = []
    word, quote, index = "", "", 0
    while index < len(text):
        char = text[index]
        index += 1
        if not quote and char.isspace():
            if word:
                words.append(word)
            word = ""
            continue
        word += char
        if char == escape and quote != "'" and index < len(text):
            word += text[index]
            index += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
    if word:
        words.append(word)
    return words


def parse_name_values(text: str, keyword: str, escape: str = "\\") -> tuple[NameValue, ...]:
    """The pairs of ENV or LABEL; the old form `NAME the rest` is one pair. Raises DockerfileError without a span."""
    words = split_words(text, escape)
    if not words:
        raise DockerfileError(f"{keyword} requires at least one argument", remedy=f"write {keyword} NAME=VALUE")
    if "=" not in words[0]:
        name, _, value = text.strip().partition(" ") if " " in text.strip() else text.strip().partition("\t")
        if not value.strip():
            raise DockerfileError(f"{keyword} must have two arguments", remedy=f"write {keyword} NAME=VALUE")
        return (NameValue(name, value.strip()),)
    pairs = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise DockerfileError(
                f'syntax error: can\'t find = in "{word}"', remedy="every word must be of the form NAME=VALUE"
            )
        if not name:
            raise DockerfileError(f"{keyword} names can not be blank", remedy=f"write {keyword} NAME=VALUE")
        pairs.append(NameValue(name, value))
    return tuple(pairs)


def parse_args(text: str, escape: str = "\\") -> tuple[tuple[str, str | None], ...]:
    """ARG's names, each with its default or None. Raises DockerfileError without a span."""
    result: list[tuple[str, str | None]] = []
    for word in split_words(text, escape):
        name, equals, value = word.partition("=")
        if not name:
            raise DockerfileError("ARG names can not be blank", remedy="write ARG NAME[=DEFAULT]")
        result.append((name, value if equals else None))
    return tuple(result)
