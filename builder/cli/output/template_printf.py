"""printf of Go templates: the verbs of package fmt, for the values that JSON knows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

Value = object
_VERB = re.compile(r"%([-+# 0]*)(\[\d*\])?(\*|\d+)?(?:\.(\[\d*\])?(\*|\d*))?(\[\d*\])?(.|$)", re.DOTALL)
_SHORTEST = 6  # digits from which on the shortest form of a number has an exponent
_MAX_WIDTH = 1_000_000  # as in Go


class Nil:
    """An empty list or map that was never made: prints as one, is null in JSON."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __len__(self) -> int:
        return 0


def print_value(value: Value) -> str:
    """Return a value as fmt.Print prints it."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case float():
            return _shortest(value)
        case list() | tuple():
            return "[" + " ".join(print_value(item) for item in value) + "]"
        case Mapping() if not value:
            return "{}"  # Go's empty struct, which the sets of ports and volumes are made of
        case Mapping():
            return "map[" + " ".join(f"{key}:{print_value(value[key])}" for key in sorted(value)) + "]"
    return str(value)


def type_of(value: Value) -> str:
    """Return Go's name of the type of a value from JSON."""
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
            return "[]string" if value and all(isinstance(item, str) for item in value) else "[]interface {}"
        case None:
            return "<nil>"
    return "map[string]interface {}"


def printf(form: Value, *values: Value) -> str:
    """Format like fmt.Sprintf: what does not fit is described in the text.

    Raises TypeError where the form is not text.
    """
    if not isinstance(form, str):
        raise TypeError(f"expected string; found {print_value(form)}")
    return _Printer(values).printed(form)


class _Printer:
    """One call of printf; `_next` is the argument that comes next."""

    def __init__(self, values: Sequence[Value]) -> None:
        self._values = values
        self._next = 0
        self._is_reordered = False

    def printed(self, form: str) -> str:
        text = _VERB.sub(self._verb, form)
        left = [] if self._is_reordered else self._values[self._next :]
        return text + (f"%!(EXTRA {', '.join(map(_with_type, left))})" if left else "")

    def _verb(self, match: re.Match[str]) -> str:
        flags, of_width, width, of_precision, precision, of_value, letter = match.groups()
        if letter == "%":
            return "%"
        if not letter:
            return "%!(NOVERB)"
        is_good = self._go_to(of_width)
        size = self._number(width)
        is_good = self._go_to(of_precision) and is_good
        places = self._number(precision) if precision is not None else None
        if not (self._go_to(of_value) and is_good):
            return f"%!{letter}(BADINDEX)"
        if self._next >= len(self._values):
            return f"%!{letter}(MISSING)"
        value = self._values[self._next]
        self._next += 1
        if size < 0:
            flags, size = flags + "-", -size
        return _padded(value, letter, flags, size, places)

    def _go_to(self, index: str | None) -> bool:
        """Take the argument that is named next; whether there is such a one."""
        if index is None:
            return True
        self._is_reordered = True
        number = int(index[1:-1] or 0)
        if not 1 <= number <= len(self._values):
            return False
        self._next = number - 1
        return True

    def _number(self, text: str | None) -> int:
        """Return a width or precision, which may be an argument."""
        if text != "*":
            return min(int(text or 0), _MAX_WIDTH)
        value = self._values[self._next] if self._next < len(self._values) else 0
        self._next += 1
        return value if isinstance(value, int) and abs(value) <= _MAX_WIDTH else 0


def _padded(value: Value, letter: str, flags: str, size: int, precision: int | None) -> str:
    if isinstance(value, list | tuple) and letter not in "vT":
        return "[" + " ".join(_padded(item, letter, flags, size, precision) for item in value) + "]"
    text = _formatted(value, letter, flags, precision)
    if "-" in flags:
        return text.ljust(size)
    if "0" not in flags or text[:1] not in "+- " or not isinstance(value, int | float):
        return text.rjust(size, "0" if "0" in flags else " ")
    return text[0] + text[1:].rjust(size - 1, "0")


def _formatted(value: Value, letter: str, flags: str, precision: int | None) -> str:
    """Return one value by one verb, without its width."""
    if letter == "v":
        return _go_syntax(value) if "#" in flags else _number_text(value, "g", flags, precision) or print_value(value)
    if letter == "T":
        return type_of(value)
    if letter == "t" and isinstance(value, bool):
        return print_value(value)
    text = None
    if isinstance(value, str):
        text = _text(value, letter, flags, precision)
    elif isinstance(value, Mapping | Nil) and letter == "s":
        text = print_value(value)
    elif isinstance(value, float):
        text = _number_text(value, letter, flags, precision) if letter in "eEfFgG" else None
    elif isinstance(value, int) and not isinstance(value, bool):
        text = _integer(value, letter, flags)
    return f"%!{letter}({_with_type(value)})" if text is None else text


def _text(value: str, letter: str, flags: str, precision: int | None) -> str | None:
    short = value if precision is None else value[:precision]
    match letter:
        case "s":
            return short
        case "q" if "#" in flags and "`" not in short and short.isprintable():
            return f"`{short}`"
        case "q":
            return json.dumps(short, ensure_ascii="+" in flags)
        case "x" | "X":
            digits = short.encode("utf-8", "surrogateescape").hex()
            if " " in flags:
                digits = " ".join(re.findall("..", digits))
            return digits.upper() if letter == "X" else digits
    return None


def _integer(value: int, letter: str, flags: str) -> str | None:
    sign = "+" if "+" in flags else " " if " " in flags else ""
    match letter:
        case "d" | "x" | "X":
            return f"%{sign}{'#' if '#' in flags else ''}{letter}" % value
        case "o" | "O" | "b":
            prefix = "0o" if letter == "O" else "0" if letter == "o" and "#" in flags else ""
            return f"{'-' if value < 0 else sign}{prefix}{abs(value):{letter.lower()}}"
        case "c" | "q" | "U" if not 0 <= value < 0x110000:
            return None
        case "c":
            return chr(value)
        case "q":
            return (
                "'"
                + json.dumps(chr(value), ensure_ascii="+" in flags)[1:-1].replace('\\"', '"').replace("'", "\\'")
                + "'"
            )
        case "U":
            return f"U+{value:04X}" + (f" '{chr(value)}'" if "#" in flags and chr(value).isprintable() else "")
    return None


def _number_text(value: Value, letter: str, flags: str, precision: int | None) -> str:
    """Return a float; empty for anything else."""
    if not isinstance(value, float):
        return ""
    sign = "+" if "+" in flags else " " if " " in flags else ""
    if precision is None and letter in "gG":
        text = _shortest(value)
        return (sign if value >= 0 else "") + (text.upper() if letter == "G" else text)
    return f"%{sign}{f'.{precision}' if precision is not None else ''}{letter}" % value


def _shortest(value: float) -> str:
    """Return the fewest digits that mean this number."""
    if value in (float("inf"), float("-inf")) or value != value:
        return {"inf": "+Inf", "-inf": "-Inf"}.get(str(value), "NaN")
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    first = len(digits) + exponent - 1 if any(digits) else 0
    if -4 <= first < _SHORTEST:
        return repr(value).removesuffix(".0") if "e" not in repr(value) else f"{value:f}".rstrip("0").rstrip(".")
    text = "".join(map(str, digits))
    return f"{'-' if sign else ''}{text[0]}{'.' if text[1:] else ''}{text[1:]}e{first:+03d}"


def _go_syntax(value: Value) -> str:
    match value:
        case str():
            return json.dumps(value, ensure_ascii=False)
        case list() | tuple():
            return f"{type_of(value)}{{{', '.join(map(_go_syntax, value))}}}"
        case Mapping():
            members = ", ".join(f"{_go_syntax(key)}:{_go_syntax(value[key])}" for key in sorted(value))
            return f"{type_of(value)}{{{members}}}"
    return print_value(value)


def _with_type(value: Value) -> str:
    return f"{type_of(value)}={print_value(value)}" if value is not None else "<nil>"
