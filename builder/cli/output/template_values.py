"""What is true in Go templates, and the functions docker gives them."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote_plus

from tiffin.builder.cli.output.template_printf import Nil, print_value, printf, type_of

Value = object


NIL_LIST, NIL_MAP = Nil("[]"), Nil("map[]")
MISSING = Nil("<no value>")  # of a map that has no such key


def is_true(value: Value) -> bool:
    """Whether `if` takes it: anything but false, 0, nothing and what is empty."""
    return bool(value)


def to_json(value: Value) -> str:
    """Return JSON without spaces, as docker's `json` does."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=lambda item: None)


def call(name: str, arguments: Sequence[Value]) -> Value:
    """Raise KeyError for an unknown function, TypeError, ValueError or IndexError for wrong arguments."""
    return _FUNCTIONS[name](*arguments)


def _index(value: Value, *keys: Value) -> Value:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key, "")
        elif isinstance(value, list | tuple | str) and isinstance(key, int):
            items = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
            if not 0 <= key < len(items):
                raise IndexError(f"index out of range: {key}")
            value = items[key]
        elif isinstance(value, Nil) and not isinstance(key, int):
            value = ""
        else:
            raise IndexError(f"index of {print_value(value)}: {key}")
    return value


def _length(value: Value) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, Mapping | list | tuple | Nil):
        return len(value)
    raise TypeError(f"len of {print_value(value)}")


def _slice(value: Value, *places: Value) -> Value:
    """Return a part of a list, or of the bytes of a text: from, to, and for lists how far it could grow."""
    if not isinstance(value, list | tuple | str):
        raise TypeError(f"can't slice item of type {type_of(value)}")
    whole = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    if len(places) > (2 if isinstance(value, str) else 3):
        raise TypeError("too many slice indexes")
    bounds = [0]
    for place in places:
        if not isinstance(place, int) or isinstance(place, bool):
            raise TypeError(f"cannot index slice/array with type {type_of(place)}")
        if not 0 <= place <= len(whole):
            raise IndexError(f"index out of range: {place}")
        if place < bounds[-1]:
            raise IndexError(f"invalid slice index: {bounds[-1]} > {place}")
        bounds.append(place)
    first, last, *_ = [*bounds[1:3], len(whole)] if places else [0, len(whole)]
    part = whole[first:last]
    return part.decode("utf-8", "replace") if isinstance(part, bytes) else part


def _print(*values: Value) -> str:
    """Print like fmt.Sprint: a space only between two values that are not text."""
    result = ""
    for number, value in enumerate(values):
        if number and not isinstance(value, str) and not isinstance(values[number - 1], str):
            result += " "
        result += print_value(value)
    return result


def _js(text: str) -> str:
    """Return a text as a part of one in JavaScript."""

    def escaped(match: re.Match[str]) -> str:
        character = match[0]
        return f"\\{character}" if character in "\\'\"" else f"\\u{ord(character):04X}"

    return re.sub(r"[\\'\"<>&=]|[^ -~]", lambda match: match[0] if _is_printed(match[0]) else escaped(match), text)


def _is_printed(character: str) -> bool:
    return character.isprintable() and not character.isascii()


def _title(text: Value) -> str:
    """Return the first letter of each word as a capital, the others as they are."""
    return re.sub(r"(?<!\w)\w", lambda match: match[0].title(), str(text))


def _and(*values: Value) -> Value:
    return next((value for value in values if not is_true(value)), values[-1])


def _or(*values: Value) -> Value:
    return next((value for value in values if is_true(value)), values[-1])


def _join(items: Value, separator: Value) -> str:
    if not isinstance(items, list | tuple):
        if isinstance(items, Nil):
            return ""
        raise TypeError("join needs a list")
    return str(separator).join(map(print_value, items))


def _equal(left: Value, right: Value) -> bool:
    if None not in (left, right) and type_of(left) != type_of(right):
        raise TypeError(f"incompatible types for comparison: {type_of(left)} and {type_of(right)}")
    return left == right


def _ordered(compare: Callable[[int], bool]) -> Callable[[Value, Value], bool]:
    def test(left: Value, right: Value) -> bool:
        if isinstance(left, str) and isinstance(right, str):
            return compare((left > right) - (left < right))
        if isinstance(left, int | float) and isinstance(right, int | float):
            return compare((left > right) - (left < right))
        raise TypeError("incompatible types for comparison")

    return test


_FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "json": to_json,
    "html": lambda *values: html.escape(_print(*values)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
    "js": lambda *values: _js(_print(*values)),
    "urlquery": lambda *values: quote_plus(_print(*values)),
    "index": _index,
    "len": _length,
    "slice": _slice,
    "print": _print,
    "printf": printf,
    "println": lambda *values: " ".join(map(print_value, values)) + "\n",
    "join": _join,
    "split": lambda text, separator: str(text).split(str(separator)),
    "lower": lambda text: str(text).lower(),
    "upper": lambda text: str(text).upper(),
    "title": _title,
    "truncate": lambda text, length: str(text)[:length],
    "pad": lambda text, before, after: " " * before + str(text) + " " * after if text else text,
    "and": _and,
    "or": _or,
    "not": lambda value: not is_true(value),
    "eq": lambda first, *others: any(_equal(first, other) for other in others),
    "ne": lambda left, right: not _equal(left, right),
    "lt": _ordered(lambda sign: sign < 0),
    "le": _ordered(lambda sign: sign <= 0),
    "gt": _ordered(lambda sign: sign > 0),
    "ge": _ordered(lambda sign: sign >= 0),
}
