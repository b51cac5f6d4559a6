"""Functions that bake files declare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tiffin.builder.bake.hcl.bodies import Block, Definition
from tiffin.builder.bake.hcl.expressions import Expression, Inner, TupleNode
from tiffin.builder.bake.hcl.faults import ExpressionError
from tiffin.builder.bake.hcl.values import Value

if TYPE_CHECKING:
    from tiffin.builder.bake.hcl.expressions import Scope


class UserFunction:
    """A function as its block declares it."""

    def __init__(self, block: Block, scope: Scope) -> None:
        self._block = block
        self._scope = scope
        self.name = block.label

    def check(self) -> None:
        """Raise BakeError where it cannot be called."""
        self._names()
        self._variadic()
        self._result()

    def call(self, arguments: Sequence[Value]) -> Value:
        """Return the result. Raises ExpressionError, BakeError."""
        names, rest = self._names(), self._variadic()
        if len(arguments) < len(names) or (len(arguments) > len(names) and not rest):
            wanted = f"{'at least ' if rest else ''}{len(names)}"
            raise ExpressionError(f"{self.name}() needs {wanted} arguments, not {len(arguments)}")
        values = dict(zip(names, arguments, strict=False))
        if rest:
            values[rest] = list(arguments[len(names) :])
        return self._result().value(Inner(self._scope, values))

    def _result(self) -> Definition:
        found = self._block.get("result")
        if found is None:
            raise self._block.wrong(f"empty result not allowed for {self.name}", remedy="add result = …")
        return found

    def _names(self) -> list[str]:
        found = self._block.get("params")
        if found is None:
            raise self._block.wrong(f"empty params not allowed for {self.name}", remedy="add params = […]")
        if not isinstance(found.expression, TupleNode):
            raise found.wrong("the names of parameters are a list", remedy="write params = [a, b]")
        return [self._name(found, item) for item in found.expression.items]

    def _variadic(self) -> str:
        found = self._block.get("variadic_params")
        return self._name(found, found.expression) if found is not None else ""

    def _name(self, found: Definition, expression: Expression) -> str:
        if not expression.keyword():
            raise found.wrong("Each parameter name must be an identifier.", line=expression.line)
        return expression.keyword()
