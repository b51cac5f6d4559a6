"""Functions of texts."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterator
from decimal import Decimal

from tiffin.builder.bake.functions.function import LIST, Function
from tiffin.builder.bake.hcl.faults import ExpressionError
from tiffin.builder.bake.hcl.types import NUMBER, STRING
from tiffin.builder.bake.hcl.values import Value, as_text

MAX_PATTERN = 10_000  # characters of a regular expression
_NAMED = re.compile(r"\(\?<(?=[A-Za-z_])")
_CLASSES = {
    "[:alnum:]": "0-9A-Za-z", "[:alpha:]": "A-Za-z", "[:digit:]": "0-9", "[:lower:]": "a-z", "[:upper:]": "A-Z",
    "[:space:]": r"\t\n\v\f\r ", "[:word:]": r"0-9A-Za-z_", "[:xdigit:]": "0-9A-Fa-f", "[:blank:]": r"\t ",
    "[:punct:]": r"!-/:-@\[-`{-~", "[:ascii:]": r"\x00-\x7f", "[:cntrl:]": r"\x00-\x1f\x7f", "[:print:]": r" -~",
    "[:graph:]": r"!-~",
}  # fmt: skip


def characters(text: str) -> list[str]:
    """Return what people take for one character each: a letter with its marks."""
    found: list[str] = []
    for letter in text:
        if found and (unicodedata.combining(letter) or letter == "\u200d" or found[-1].endswith("\u200d")):
            found[-1] += letter
        else:
            found.append(letter)
    return found


def _substring(text: str, offset: Decimal, length: Decimal) -> str:
    letters = characters(text)
    first = int(offset) + len(letters) if offset < 0 else int(offset)
    if first > len(letters) or length == 0:
        return ""
    first = max(first, 0)
    return "".join(letters[first:] if length < 0 else letters[first : first + int(length)])


def _bytes_slice(text: str, offset: Decimal, length: Decimal) -> str:
    data = text.encode()
    first = int(offset)
    if first < 0 or first + int(length) > len(data):
        raise ExpressionError("offset and length lead out of the text")
    return data[first : first + int(length)].decode("utf-8", "replace")


def _title(text: str) -> str:
    return re.sub(r"(^|[\s\-./])(\w)", lambda match: match[1] + match[2].upper(), text)


def _indent(spaces: Decimal, text: str) -> str:
    return text.replace("\n", "\n" + " " * int(spaces))


def _join(separator: str, *lists: list[Value]) -> str:
    if not lists:
        raise ExpressionError("at least one list is required")
    return separator.join(as_text(item) for items in lists for item in items)


def _replace(text: str, old: str, new: str) -> str:
    return text.replace(old, new)


def _sort(items: list[Value]) -> list[str]:
    return sorted((as_text(item) for item in items), key=str.encode)


def sanitize(name: str) -> str:
    """Return a text with _ for all that names of targets may not have."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)


# -- regular expressions -----------------------------------------------------------------------------------------------


def compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern of Go's notation. Raises ExpressionError."""
    if len(pattern) > MAX_PATTERN:
        raise ExpressionError(f"the pattern is longer than {MAX_PATTERN} characters")
    text = _NAMED.sub("(?P<", pattern).replace(r"\z", r"\Z")
    for name, letters in _CLASSES.items():
        text = text.replace(name, letters)
    flags = re.match(r"\(\?([imsU]+)\)", text)
    try:
        return re.compile(text, 0 if flags else re.ASCII)
    except re.error as exc:
        raise ExpressionError(f'"{pattern}" is not a pattern: {exc}') from exc


def _found(match: re.Match[str]) -> Value:
    if match.re.groupindex:
        if len(match.re.groupindex) < match.re.groups:
            raise ExpressionError("a pattern names all its groups, or none")
        return dict(match.groupdict())
    return list(match.groups()) if match.re.groups else match[0]


def _regex(pattern: str, text: str) -> Value:
    match = compiled(pattern).search(text)
    if match is None:
        raise ExpressionError("pattern did not match any part of the given string")
    return _found(match)


def _regex_all(pattern: str, text: str) -> list[Value]:
    return [_found(match) for match in compiled(pattern).finditer(text)]


def _regex_replace(text: str, pattern: str, replacement: str) -> str:
    found = compiled(pattern)
    return found.sub(lambda match: "".join(_filled(replacement, match)), text)


def _filled(replacement: str, match: re.Match[str]) -> Iterator[str]:
    """Yield the parts of a replacement, with $1, ${1}, $name and $$ as Go has them."""
    for part in re.finditer(r"\$(?:(\$)|(\w+)|\{(\w+)\})|[^$]+|\$", replacement):
        name = part[2] or part[3]
        if part[1]:
            yield "$"
        elif name is None:
            yield part[0]
        elif name.isdigit():
            yield (match[int(name)] or "") if int(name) <= match.re.groups else ""
        else:
            yield (match.groupdict().get(name) or "") if name in match.re.groupindex else ""


def _one(do: Callable[[str], Value]) -> Function:
    return Function(takes=(STRING,), do=do)


FUNCTIONS = {
    "basename": _one(lambda path: posixpath.basename(path.rstrip("/")) or ("/" if path else ".")),
    "byteslen": _one(lambda text: Decimal(len(text.encode()))),
    "bytesslice": Function(takes=(STRING, NUMBER, NUMBER), do=_bytes_slice),
    "chomp": _one(lambda text: re.sub(r"(?:\r\n?|\n)*\Z", "", text)),
    "dirname": _one(lambda path: posixpath.normpath(posixpath.dirname(path) or ".").replace("//", "/")),
    "indent": Function(takes=(NUMBER, STRING), do=_indent),
    "join": Function(takes=(STRING,), rest=LIST, do=_join),
    "lower": _one(str.lower),
    "regex": Function(takes=(STRING, STRING), do=_regex),
    "regex_replace": Function(takes=(STRING, STRING, STRING), do=_regex_replace),
    "regexall": Function(takes=(STRING, STRING), do=_regex_all),
    "replace": Function(takes=(STRING, STRING, STRING), do=_replace),
    "reverse": _one(lambda text: "".join(reversed(characters(text)))),
    "sanitize": _one(sanitize),
    "sort": Function(takes=(LIST,), do=_sort),
    "split": Function(takes=(STRING, STRING), do=lambda by, text: text.split(by) if by else characters(text)),
    "strlen": _one(lambda text: Decimal(len(characters(text)))),
    "substr": Function(takes=(STRING, NUMBER, NUMBER), do=_substring),
    "title": _one(_title),
    "trim": Function(takes=(STRING, STRING), do=lambda text, letters: text.strip(letters) if letters else text),
    "trimprefix": Function(takes=(STRING, STRING), do=str.removeprefix),
    "trimspace": _one(str.strip),
    "trimsuffix": Function(takes=(STRING, STRING), do=str.removesuffix),
    "upper": _one(str.upper),
}
