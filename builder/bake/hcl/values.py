"""Values of expressions: str, Decimal, bool, None, list (lists and tuples), dict (maps and objects), and Set."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Context, Decimal, localcontext
from typing import Any

from tiffin.builder.bake.hcl.faults import ExpressionError

Value = Any  # see above
NUMBERS = Context(prec=154, Emax=4000, Emin=-4000)  # HCL's numbers have 512 bits; larger ones fill memory as text
FLOAT_DIGITS = 17


class Set(list[Any]):
    """Distinct values in HCL's order: texts and numbers sorted, others as they came."""

    def __init__(self, items: list[Any]) -> None:
        distinct: list[Any] = []
        for item in items:
            if not any(equal(item, other) for other in distinct):
                distinct.append(item)
        if all(isinstance(item, str) for item in distinct):
            distinct.sort(key=lambda text: str(text).encode())
        elif all(isinstance(item, Decimal) for item in distinct):
            distinct.sort()
        super().__init__(distinct)


class Object(dict[str, Any]):
    """An object whose attributes are made when they are read."""

    def __init__(self, names: list[str], read: Callable[[str], Any]) -> None:
        super().__init__()
        self._names = names
        self._read = read

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def keys(self) -> Any:
        """Return the names of all attributes."""
        return list(self._names)

    def items(self) -> Any:
        """Return all attributes."""
        return [(name, self[name]) for name in self._names]

    def values(self) -> Any:
        """Return the values of all attributes."""
        return [self[name] for name in self._names]


def number(text: str | int | float) -> Decimal:
    """Return a number. Raises ValueError."""
    try:
        found = NUMBERS.create_decimal(str(text))
    except ArithmeticError as exc:
        raise ValueError(f"{text} is not a number") from exc
    if not found.is_finite():
        raise ValueError(f"{text} is not a number")
    return found


def number_text(value: Decimal) -> str:
    """Return a number as HCL writes it."""
    if value == value.to_integral_value():
        return str(int(value))
    with localcontext(NUMBERS):
        return format(value.normalize(), "f")


def kind_of(value: Value) -> str:
    """Return the name of a value's type, as HCL's messages have it."""
    match value:
        case None:
            return "dynamic"
        case bool():
            return "bool"
        case str():
            return "string"
        case Decimal():
            return "number"
        case Set():
            return "set"
        case list():
            return "tuple"
        case _:
            return "object"


def equal(left: Value, right: Value) -> bool:
    """Whether two values are the same; those of different types are not."""
    if isinstance(left, dict) and isinstance(right, dict):
        return set(left.keys()) == set(right.keys()) and all(equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(equal(one, other) for one, other in zip(left, right, strict=True))
    return type(left) is type(right) and bool(left == right)


def as_text(value: Value, line: int = 0) -> str:
    """Return a primitive value as text. Raises ExpressionError."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case Decimal():
            return number_text(value)
        case None:
            raise ExpressionError("the value is null, where a string is needed", line)
    raise ExpressionError(f"string required, not {kind_of(value)}", line)


def as_number(value: Value, line: int = 0) -> Decimal:
    """Return a value as a number. Raises ExpressionError."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, str):
        try:
            return number(value)
        except ValueError as exc:
            raise ExpressionError("a number is required", line) from exc
    raise ExpressionError(f"a number is required, not {kind_of(value)}", line)


def as_bool(value: Value, line: int = 0) -> bool:
    """Return a value as true or false. Raises ExpressionError."""
    if isinstance(value, bool):
        return value
    if value in ("true", "1"):
        return True
    if value in ("false", "0"):
        return False
    raise ExpressionError(f"a bool is required, not {kind_of(value)}", line)


def as_integer(value: Value, line: int = 0) -> int:
    """Return a value as a whole number. Raises ExpressionError."""
    found = as_number(value, line)
    if found != found.to_integral_value():
        raise ExpressionError("a whole number is required", line)
    return int(found)


def to_json(value: Value, **layout: Any) -> str:
    """Return a value as JSON: keys sorted, as HCL writes it."""
    return json.dumps(plain(value), ensure_ascii=False, **{"separators": (",", ":"), **layout})


def plain(value: Value) -> Any:
    """Return a value as the standard library's JSON takes it."""
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case list():
            return [plain(item) for item in value]
        case dict():
            return {key: plain(value[key]) for key in sorted(value.keys())}
    return value


def from_plain(value: Any) -> Value:
    """Return a value of what JSON was read to, with Decimal for all numbers."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        return [from_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: from_plain(item) for key, item in value.items()}
    return number(value)


def json_value(text: str) -> Value:
    """Return the value of a JSON text. Raises ValueError."""
    return from_plain(json.loads(text, parse_float=Decimal, parse_int=Decimal))
