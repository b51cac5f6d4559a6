"""How values of Go templates print, what is true, and the functions docker gives templates."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote_plus

Value = object
_VERB = re.compile(r"%([-+# 0]*)(\d*)(?:\.(\d*))?([a-zA-Z%])")


class Nil:
    """An empty list or map that was never made: prints as one, is null in JSON."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __len__(self) -> int:
        return 0


NIL_LIST, NIL_MAP = Nil("[]"), Nil("map[]")
MISSING = Nil("<no value>")  # of a map that has no such key


def print_value(value: Value) -> str:
    """As fmt.Print does."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case list() | tuple():
            return "[" + " ".join(print_value(item) for item in value) + "]"
        case Mapping() if not value:
            return "{}"  # Go's empty struct, which the sets of ports and volumes are made of
        case Mapping():
            return "map[" + " ".join(f"{key}:{print_value(value[key])}" for key in sorted(value)) + "]"
    return str(value)


def is_true(value: Value) -> bool:
    """Whether `if` takes it: anything but false, 0, nothing and what is empty."""
    return bool(value)


def to_json(value: Value) -> str:
    """Without spaces, as docker's `json`."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=lambda item: None)


def call(name: str, arguments: Sequence[Value]) -> Value:
    """Raises KeyError for an unknown function, TypeError, ValueError or IndexError for wrong arguments."""
    return _FUNCTIONS[name](*arguments)


def _index(value: Value, *keys: Value) -> Value:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key, "")
        elif isinstance(value, list | tuple | str) and isinstance(key, int):
            if not 0 <= key < len(value):
                raise IndexError(f"index out of range: {key}")
            value = value[key]
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


def _slice(value: Value, first: Value = 0, last: Value = None) -> Value:
    if not isinstance(value, list | tuple | str) or not isinstance(first, int) or not isinstance(last, int | None):
        raise TypeError("slice needs a list or a text, and numbers")
    return value[first:last]


def _printf(form: Value, *values: Value) -> str:
    left = list(values)

    def verb(match: re.Match[str]) -> str:
        flags, width, precision, letter = match.groups()
        if letter == "%":
            return "%"
        if not left:
            return f"%!{letter}(MISSING)"
        text = _formatted(left.pop(0), letter, flags, precision)
        size = int(width or 0)
        return text.ljust(size) if "-" in flags else text.rjust(size, "0" if "0" in flags else " ")

    if re.search(r"%[-+# 0]*[*\[]", str(form)):
        raise ValueError("widths and places that are arguments are not supported")
    text = _VERB.sub(verb, str(form))
    return text + (f"%!(EXTRA {', '.join(_with_type(value) for value in left)})" if left else "")


def _formatted(value: Value, letter: str, flags: str, precision: str | None) -> str:
    """One value by one verb of fmt, without its width."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    sign = "+" if "+" in flags else ""
    match letter:
        case "v" | "s" if is_number and letter == "s":
            return f"%!s({_with_type(value)})"
        case "v" | "s" | "q":
            text = print_value(value)
            text = text if precision is None or letter == "v" else text[: int(precision or 0)]
            return json.dumps(text, ensure_ascii=False) if letter == "q" else text
        case "t" if isinstance(value, bool):
            return print_value(value)
        case "T":
            return _type_of(value)
        case "x" | "X" if isinstance(value, str):
            digits = value.encode("utf-8", "surrogateescape").hex()
            return digits.upper() if letter == "X" else digits
        case "d" | "x" | "X" | "o" | "c" if isinstance(value, int) and is_number:
            sign = " " if " " in flags and not sign else sign
            return f"%{sign}{'#' if '#' in flags else ''}{letter}" % value
        case "b" if isinstance(value, int) and is_number:
            return f"{value:b}"
        case "f" | "e" | "g" | "F" | "E" | "G" if isinstance(value, float):
            return f"%{sign}{'.' + (precision or '0') if precision is not None else ''}{letter}" % value
    return f"%!{letter}({_with_type(value)})"


def _with_type(value: Value) -> str:
    return f"{_type_of(value)}={print_value(value)}" if value is not None else "<nil>"


def _type_of(value: Value) -> str:
    """Go's name of the type of a value from JSON."""
    match value:
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float64"
        case str():
            return "string"
        case list() | tuple():
            return "[]interface {}"
        case None:
            return "<nil>"
    return "map[string]interface {}"


def _print(*values: Value) -> str:
    """Spaces only between two values that are no text, as fmt.Sprint."""
    result = ""
    for number, value in enumerate(values):
        if number and not isinstance(value, str) and not isinstance(values[number - 1], str):
            result += " "
        result += print_value(value)
    return result


def _js(text: str) -> str:
    """A text as a part of one in JavaScript."""
    quoted = json.dumps(text, ensure_ascii=False)[1:-1].replace("'", "\\'")
    return re.sub("[<>&=]", lambda match: f"\\u{ord(match[0]):04X}", quoted)


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
    if None not in (left, right) and _type_of(left) != _type_of(right):
        raise TypeError(f"incompatible types for comparison: {_type_of(left)} and {_type_of(right)}")
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
    "printf": _printf,
    "println": lambda *values: " ".join(map(print_value, values)) + "\n",
    "join": _join,
    "split": lambda text, separator: str(text).split(str(separator)),
    "lower": lambda text: str(text).lower(),
    "upper": lambda text: str(text).upper(),
    "title": lambda text: str(text).title(),
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
