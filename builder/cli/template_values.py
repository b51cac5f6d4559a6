"""How values of Go templates print, what is true, and the functions docker gives templates."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence

Value = object
_VERB = re.compile(r"%[-+# 0]*(\d*)(?:\.(\d+))?([a-zA-Z%])")


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
    if isinstance(value, Mapping | list | tuple | str | Nil):
        return len(value)
    raise TypeError(f"len of {print_value(value)}")


def _slice(value: Value, first: Value = 0, last: Value = None) -> Value:
    if not isinstance(value, list | tuple | str) or not isinstance(first, int) or not isinstance(last, int | None):
        raise TypeError("slice needs a list or a text, and numbers")
    return value[first:last]


def _printf(form: Value, *values: Value) -> str:
    left = list(values)

    def verb(match: re.Match[str]) -> str:
        if match[3] == "%":
            return "%"
        if not left:
            return f"%!{match[3]}(MISSING)"
        value = left.pop(0)
        if match[3] == "q":
            text = json.dumps(print_value(value), ensure_ascii=False)
        elif match[3] in "svd":
            text = print_value(value)
        elif match[3] in "xXf" and isinstance(value, int | float):
            text = f"%{'.' + match[2] if match[2] else ''}{match[3]}" % value
        else:
            raise ValueError(f"%{match[3]} is not supported")
        width = int(match[1] or 0)
        return text.ljust(width) if "-" in match[0] else text.rjust(width, "0" if match[0][1] == "0" else " ")

    return _VERB.sub(verb, str(form))


def _print(*values: Value) -> str:
    """Spaces only between two values that are no text, as fmt.Sprint."""
    result = ""
    for number, value in enumerate(values):
        if number and not isinstance(value, str) and not isinstance(values[number - 1], str):
            result += " "
        result += print_value(value)
    return result


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
    "eq": lambda first, *others: any(first == other for other in others),
    "ne": lambda left, right: left != right,
    "lt": _ordered(lambda sign: sign < 0),
    "le": _ordered(lambda sign: sign <= 0),
    "gt": _ordered(lambda sign: sign > 0),
    "ge": _ordered(lambda sign: sign >= 0),
}
