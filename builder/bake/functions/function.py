"""A function as data: what it takes, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tiffin.builder.bake.hcl.faults import ExpressionError
from tiffin.builder.bake.hcl.types import ANY, BOOL, NUMBER, STRING, Type, convert
from tiffin.builder.bake.hcl.values import Value, kind_of
from tiffin.cache.foundation.frozen import dataclass

LIST, MAP, NULLABLE = "list", "map", "nullable"  # of anything; NULLABLE: anything, also null
_TYPES = {kind: Type(kind=kind) for kind in (STRING, NUMBER, BOOL)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function; `takes` are the kinds of its arguments, `rest` that of all further ones, "" where there are none."""

    do: Callable[..., Value]
    takes: Sequence[str] = ()
    rest: str = ""

    def call(self, name: str, arguments: Sequence[Value]) -> Value:
        """Return the result. Raises ExpressionError."""
        if len(arguments) < len(self.takes) or (len(arguments) > len(self.takes) and not self.rest):
            wanted = f"{'at least ' if self.rest else ''}{len(self.takes)}"
            raise ExpressionError(f"{name}() needs {wanted} arguments, not {len(arguments)}")
        kinds = [*self.takes, *[self.rest] * (len(arguments) - len(self.takes))]
        pairs = enumerate(zip(arguments, kinds, strict=True), 1)
        try:
            return self.do(*[_converted(name, number, value, kind) for number, (value, kind) in pairs])
        except (ValueError, ArithmeticError) as exc:
            raise ExpressionError(f"{name}(): {exc}") from exc


def _converted(name: str, number: int, value: Value, kind: str) -> Value:
    what = f"argument {number} of {name}()"
    if kind == NULLABLE:
        return value
    if value is None:
        raise ExpressionError(f"{what} must not be null")
    if kind == LIST and not isinstance(value, list):
        raise ExpressionError(f"{what} is to be a list, not {kind_of(value)}")
    if kind == MAP and not isinstance(value, dict):
        raise ExpressionError(f"{what} is to be a map, not {kind_of(value)}")
    if kind in (LIST, MAP, ANY):
        return value
    try:
        return convert(value, _TYPES[kind])
    except ExpressionError as exc:
        raise ExpressionError(f"{what}: {exc.message}") from exc
