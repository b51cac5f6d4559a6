"""All functions by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from tiffin.builder.bake.functions.function import Function
from tiffin.builder.bake.hcl.values import Value

IN_EXPRESSIONS = ("try", "can", "convert")  # they see their arguments before they have values


@cache
def builtins() -> Mapping[str, Function]:
    """Return the functions that are always there."""
    from tiffin.builder.bake.functions import collections, dates, encodings, formats, numbers, texts, versions

    modules = (collections, dates, encodings, formats, numbers, texts, versions)
    return {name: function for module in modules for name, function in module.FUNCTIONS.items()}


def has_builtin(name: str) -> bool:
    """Whether there is a function of that name."""
    return name in builtins()


def call_builtin(name: str, arguments: Sequence[Value]) -> Value:
    """Return the result of a function. Raises ExpressionError."""
    return builtins()[name].call(name, arguments)
