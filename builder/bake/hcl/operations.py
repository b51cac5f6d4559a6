"""What operators, indexes and loops make of values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal

from tiffin.builder.bake.hcl.faults import ExpressionError
from tiffin.builder.bake.hcl.values import NUMBERS, Set, Value, as_integer, as_text, kind_of


def divide(left: Decimal, right: Decimal) -> Decimal:
    """Return a quotient. Raises ExpressionError."""
    if right == 0:
        raise ExpressionError("division by zero")
    return NUMBERS.divide(left, right)


def modulo(left: Decimal, right: Decimal) -> Decimal:
    """Return what a division leaves. Raises ExpressionError."""
    if right == 0:
        raise ExpressionError("division by zero")
    return NUMBERS.remainder(left, right)


ARITHMETIC: Mapping[str, Callable[[Decimal, Decimal], Value]] = {
    "+": NUMBERS.add,
    "-": NUMBERS.subtract,
    "*": NUMBERS.multiply,
    "/": divide,
    "%": modulo,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def pairs_of(source: Value, line: int) -> list[tuple[Value, ...]]:
    """Return what a `for` goes through: keys and values. Raises ExpressionError."""
    match source:
        case Set():
            return [(item, item) for item in source]
        case list():
            return [(Decimal(index), item) for index, item in enumerate(source)]
        case dict():
            return [(key, source[key]) for key in sorted(source.keys())]
    raise ExpressionError(f"for needs a list or a map, not {kind_of(source)}", line)


def attribute_of(source: Value, name: str, line: int) -> Value:
    """Return an attribute of an object. Raises ExpressionError."""
    if source is None:
        raise ExpressionError(f'null has no attribute "{name}"', line)
    if not isinstance(source, dict):
        raise ExpressionError(f'a value of type {kind_of(source)} has no attribute "{name}"', line)
    if name not in source:
        raise ExpressionError(f'there is no attribute "{name}"', line)
    return source[name]


def element_of(source: Value, key: Value, line: int) -> Value:
    """Return an element. Raises ExpressionError."""
    match source:
        case list() if not isinstance(source, Set):
            index = as_integer(key, line)
            if not 0 <= index < len(source):
                raise ExpressionError(f"there is no element {index}; there are {len(source)}", line)
            return source[index]
        case dict():
            return attribute_of(source, as_text(key, line), line)
    raise ExpressionError(f"a value of type {kind_of(source)} has no elements to choose", line)


def key_text(value: Value, line: int) -> str:
    """Return the key of an object. Raises ExpressionError."""
    if value is None:
        raise ExpressionError("a key is null", line)
    return as_text(value, line)
