"""Arithmetic and comparisons."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext

from tiffin.builder.bake.functions.function import NULLABLE, Function
from tiffin.builder.bake.hcl.faults import ExpressionError
from tiffin.builder.bake.hcl.operations import ARITHMETIC
from tiffin.builder.bake.hcl.types import BOOL, NUMBER
from tiffin.builder.bake.hcl.values import NUMBERS, Value, equal, number

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def parse_int(text: Value, base: Decimal) -> Decimal:
    """Return the number that a text is in a base from 2 to 62."""
    if not isinstance(text, str):
        raise ExpressionError("the first argument must be a string")
    if not 2 <= base <= 62:
        raise ExpressionError("base must be a whole number between 2 and 62 inclusive")
    digits = text.removeprefix("-") if base > 36 else text.removeprefix("-").lower()
    found = 0
    for digit in digits or " ":
        place = DIGITS.find(digit)
        if not 0 <= place < base:
            raise ExpressionError(f'cannot parse "{text}" as a base {base} integer')
        found = found * int(base) + place
    return Decimal(-found if text.startswith("-") else found)


def _power(base: Decimal, exponent: Decimal) -> Decimal:
    with localcontext(NUMBERS):
        return base**exponent if exponent == int(exponent) else number(math.pow(base, exponent))


def _logarithm(value: Decimal, base: Decimal) -> Decimal:
    if value <= 0 or base <= 0 or base == 1:
        raise ExpressionError("the logarithm of these is not a number")
    found = math.log(value) / math.log(base)
    return number(round(found) if abs(found - round(found)) < 1e-12 else found)


def _least(*values: Decimal) -> Decimal:
    if not values:
        raise ExpressionError("must pass at least one number")
    return min(values)


def _greatest(*values: Decimal) -> Decimal:
    if not values:
        raise ExpressionError("must pass at least one number")
    return max(values)


TWO, ONE = (NUMBER, NUMBER), (NUMBER,)
FUNCTIONS = {
    "absolute": Function(takes=ONE, do=Decimal.copy_abs),
    "add": Function(takes=TWO, do=ARITHMETIC["+"]),
    "ceil": Function(takes=ONE, do=lambda value: value.to_integral_value(ROUND_CEILING)),
    "divide": Function(takes=TWO, do=ARITHMETIC["/"]),
    "floor": Function(takes=ONE, do=lambda value: value.to_integral_value(ROUND_FLOOR)),
    "greaterthan": Function(takes=TWO, do=ARITHMETIC[">"]),
    "greaterthanorequalto": Function(takes=TWO, do=ARITHMETIC[">="]),
    "int": Function(takes=ONE, do=lambda value: Decimal(int(value))),
    "lessthan": Function(takes=TWO, do=ARITHMETIC["<"]),
    "lessthanorequalto": Function(takes=TWO, do=ARITHMETIC["<="]),
    "log": Function(takes=TWO, do=_logarithm),
    "max": Function(rest=NUMBER, do=_greatest),
    "min": Function(rest=NUMBER, do=_least),
    "modulo": Function(takes=TWO, do=ARITHMETIC["%"]),
    "multiply": Function(takes=TWO, do=ARITHMETIC["*"]),
    "negate": Function(takes=ONE, do=Decimal.copy_negate),
    "parseint": Function(takes=(NULLABLE, NUMBER), do=parse_int),
    "pow": Function(takes=TWO, do=_power),
    "signum": Function(takes=ONE, do=lambda value: Decimal((value > 0) - (value < 0))),
    "subtract": Function(takes=TWO, do=ARITHMETIC["-"]),
    "and": Function(takes=(BOOL, BOOL), do=lambda left, right: left and right),
    "or": Function(takes=(BOOL, BOOL), do=lambda left, right: left or right),
    "not": Function(takes=(BOOL,), do=lambda value: not value),
    "equal": Function(takes=(NULLABLE, NULLABLE), do=equal),
    "notequal": Function(takes=(NULLABLE, NULLABLE), do=lambda left, right: not equal(left, right)),
}
