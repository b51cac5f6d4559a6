"""format(): texts by the verbs of Go."""

from __future__ import annotations

import re
from decimal import Decimal

from tiffin.builder.bake.functions.function import NULLABLE, Function
from tiffin.builder.bake.functions.texts import characters
from tiffin.builder.bake.hcl.faults import ExpressionError
from tiffin.builder.bake.hcl.types import STRING
from tiffin.builder.bake.hcl.values import Value, as_bool, as_integer, as_number, as_text, number_text, to_json

_VERB = re.compile(r"%([-+ #0]*)(?:(\d+))?(?:\.(\d*))?(?:\[(\d+)\])?(.)", re.S)


def format_text(pattern: str, *values: Value) -> str:
    """Return a pattern with values in the places of its verbs. Raises ExpressionError."""
    pieces, end, used, count = [], 0, 0, 0
    for match in _VERB.finditer(pattern):
        pieces.append(pattern[end : match.start()])
        end = match.end()
        if match[5] == "%":
            pieces.append("%")
            continue
        used = int(match[4]) if match[4] else used + 1
        count = max(count, used)
        if not 1 <= used <= len(values):
            raise ExpressionError(f'not enough arguments for "{match[0]}" at {match.start()}: need index {used}')
        pieces.append(_Verb(match).text(values[used - 1]))
    rest = pattern[end:]
    if "%" in rest:
        raise ExpressionError("unterminated verb at the end of the pattern")
    if count < len(values) and "[" not in pattern:
        raise ExpressionError(f"too many arguments; only {count} used by format string")
    return "".join((*pieces, rest))


class _Verb:
    """One verb with its flags, width and precision."""

    def __init__(self, match: re.Match[str]) -> None:
        self._shown = match[0]
        self._flags = match[1]
        self._width = int(match[2] or 0)
        self._precision = None if match[3] is None else int(match[3] or 0)
        self._letter = match[5]

    def text(self, value: Value) -> str:
        """Return a value by this verb."""
        match self._letter:
            case "v":
                return self._padded(_plain(value, is_source="#" in self._flags))
            case "t":
                return self._padded("true" if as_bool(value) else "false")
            case "s":
                return self._padded(self._cut(as_text(value)))
            case "q":
                return self._padded(to_json(self._cut(as_text(value))))
            case "b" | "d" | "o" | "x" | "X":
                if self._letter in "xX" and isinstance(value, str) and not re.fullmatch(r"-?\d+", value):
                    return self._padded(value.encode().hex() if self._letter == "x" else value.encode().hex().upper())
                return self._number(format(abs(as_integer(value)), self._letter), is_below=as_integer(value) < 0)
            case "e" | "E" | "f" | "F" | "g" | "G":
                found = as_number(value)
                return self._number(self._float(abs(found)), is_below=found < 0)
        raise ExpressionError(f'unsupported format verb "{self._letter}" in "{self._shown}"')

    def _float(self, value: Decimal) -> str:
        if self._precision is None and self._letter in "gG":
            return number_text(value)
        return format(float(value), f".{6 if self._precision is None else self._precision}{self._letter}")

    def _number(self, digits: str, *, is_below: bool) -> str:
        sign = "-" if is_below else "+" if "+" in self._flags else " " if " " in self._flags else ""
        prefix = {"x": "0x", "X": "0X", "o": "0", "b": "0b"}.get(self._letter, "") if "#" in self._flags else ""
        if "0" in self._flags and "-" not in self._flags:
            digits = digits.rjust(self._width - len(sign) - len(prefix), "0")
        return self._padded(sign + prefix + digits)

    def _cut(self, text: str) -> str:
        return text if self._precision is None else "".join(characters(text)[: self._precision])

    def _padded(self, text: str) -> str:
        blanks = " " * (self._width - len(characters(text)))
        return text + blanks if "-" in self._flags else blanks + text


def _plain(value: Value, *, is_source: bool) -> str:
    if is_source or value is None or isinstance(value, (list, dict)):
        return to_json(value)
    return as_text(value)


def _format_list(pattern: Value, *values: Value) -> list[str]:
    """Return a text for each element of the lists among the arguments, which are of one length."""
    every = [pattern, *values]
    lengths = {len(item) for item in every if isinstance(item, list)}
    if len(lengths) > 1:
        raise ExpressionError(f"the lists have different lengths: {', '.join(map(str, sorted(lengths)))}")
    count = lengths.pop() if lengths else 1
    rows = [[item[index] if isinstance(item, list) else item for item in every] for index in range(count)]
    return [format_text(as_text(row[0]), *row[1:]) for row in rows]


FUNCTIONS = {
    "format": Function(takes=(STRING,), rest=NULLABLE, do=format_text),
    "formatlist": Function(takes=(NULLABLE,), rest=NULLABLE, do=_format_list),
}
