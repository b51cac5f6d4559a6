"""Expressions as trees, which tell their value in a scope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Protocol

from tiffin.builder.bake.hcl.faults import ExpressionError
from tiffin.builder.bake.hcl.operations import ARITHMETIC, attribute_of, element_of, key_text, pairs_of
from tiffin.builder.bake.hcl.values import Value, as_bool, as_number, as_text, equal, kind_of

MAX_DEPTH = 200  # of calls in calls


class Scope(Protocol):
    """What names mean."""

    def variable(self, name: str, line: int) -> Value:
        """Return the value of a variable. Raises ExpressionError."""

    def call(self, name: str, arguments: Sequence[Value], line: int) -> Value:
        """Call a function. Raises ExpressionError."""


class Inner:
    """A scope with further variables."""

    def __init__(self, outer: Scope, values: Mapping[str, Value]) -> None:
        self._outer = outer
        self._values = values

    def variable(self, name: str, line: int) -> Value:
        """Return the value of a variable."""
        return self._values[name] if name in self._values else self._outer.variable(name, line)

    def call(self, name: str, arguments: Sequence[Value], line: int) -> Value:
        """Call a function of the outer scope."""
        return self._outer.call(name, arguments, line)


class Expression:
    """An expression, which begins on `line`."""

    __slots__ = ("line",)

    def __init__(self, line: int) -> None:
        self.line = line

    def value(self, scope: Scope) -> Value:
        """Return its value. Raises ExpressionError."""
        raise NotImplementedError

    def keyword(self) -> str:
        """Return the word that the expression is, "" where it is more than a word."""
        return ""


class Literal(Expression):
    """A value as it is written."""

    __slots__ = ("literal",)

    def __init__(self, line: int, literal: Value) -> None:
        super().__init__(line)
        self.literal = literal

    def value(self, scope: Scope) -> Value:
        """Return the value."""
        return self.literal

    def keyword(self) -> str:
        """Return the text of a text."""
        return self.literal if isinstance(self.literal, str) else ""


class Template(Expression):
    """A text with expressions inside."""

    __slots__ = ("parts",)

    def __init__(self, line: int, parts: Sequence[Expression]) -> None:
        super().__init__(line)
        self.parts = parts

    def value(self, scope: Scope) -> Value:
        """Return the text."""
        pieces = []
        for part in self.parts:
            found = part.value(scope)
            if found is None:
                raise ExpressionError("a null value cannot be put into a text", part.line)
            if isinstance(found, (list, dict)):
                raise ExpressionError(f"a text cannot hold a value of type {kind_of(found)}", part.line)
            pieces.append(as_text(found))
        return "".join(pieces)


class Variable(Expression):
    """The name of a variable."""

    __slots__ = ("name",)
    __match_args__ = ("name",)

    def __init__(self, line: int, name: str) -> None:
        super().__init__(line)
        self.name = name

    def value(self, scope: Scope) -> Value:
        """Return what the scope has."""
        return scope.variable(self.name, self.line)

    def keyword(self) -> str:
        """Return the name."""
        return self.name


class Attribute(Expression):
    """One attribute of an object."""

    __slots__ = ("name", "source")

    def __init__(self, line: int, source: Expression, name: str) -> None:
        super().__init__(line)
        self.source = source
        self.name = name

    def value(self, scope: Scope) -> Value:
        """Return the attribute."""
        return attribute_of(self.source.value(scope), self.name, self.line)


class Index(Expression):
    """One element of a list or a map."""

    __slots__ = ("key", "source")

    def __init__(self, line: int, source: Expression, key: Expression) -> None:
        super().__init__(line)
        self.source = source
        self.key = key

    def value(self, scope: Scope) -> Value:
        """Return the element."""
        return element_of(self.source.value(scope), self.key.value(scope), self.line)


class Splat(Expression):
    """The same of each element; `each` reads it from Element."""

    __slots__ = ("each", "source")

    def __init__(self, line: int, source: Expression, each: Expression) -> None:
        super().__init__(line)
        self.source = source
        self.each = each

    def value(self, scope: Scope) -> Value:
        """Return the list; a value that is not a list counts as a list of one, null as an empty one."""
        found = self.source.value(scope)
        items = found if isinstance(found, list) else [] if found is None else [found]
        return [self.each.value(Inner(scope, {ELEMENT: item})) for item in items]


ELEMENT = "*"  # the name of the element in a splat


class Call(Expression):
    """A call of a function; `expands`: the last argument is a list of arguments."""

    __slots__ = ("arguments", "expands", "name")

    def __init__(self, line: int, name: str, arguments: tuple[Expression, ...], *, expands: bool) -> None:
        super().__init__(line)
        self.name = name
        self.arguments = arguments
        self.expands = expands

    def value(self, scope: Scope) -> Value:
        """Return what the function returns."""
        match self.name:
            case "try":
                return self._try(scope)
            case "can":
                return self._can(scope)
        values = [argument.value(scope) for argument in self.arguments]
        if self.expands:
            last = values.pop()
            if not isinstance(last, list):
                raise ExpressionError("what is before ... is not a list", self.line)
            values += last
        try:
            return scope.call(self.name, values, self.line)
        except ExpressionError as exc:
            exc.locate(self.line)
            raise

    def _try(self, scope: Scope) -> Value:
        found: list[str] = []
        for argument in self.arguments:
            try:
                return argument.value(scope)
            except ExpressionError as exc:
                found.append(exc.message)
        raise ExpressionError(f"no expression of try() has a value: {'; '.join(found)}", self.line)

    def _can(self, scope: Scope) -> bool:
        try:
            self.arguments[0].value(scope)
        except ExpressionError:
            return False
        return True


class Unary(Expression):
    """- or ! before an operand."""

    __slots__ = ("operand", "operator")

    def __init__(self, line: int, operator: str, operand: Expression) -> None:
        super().__init__(line)
        self.operator = operator
        self.operand = operand

    def value(self, scope: Scope) -> Value:
        """Return the contrary."""
        found = self.operand.value(scope)
        return not as_bool(found, self.line) if self.operator == "!" else as_number(found, self.line).copy_negate()


class Binary(Expression):
    """Two operands."""

    __slots__ = ("left", "operator", "right")

    def __init__(self, line: int, operator: str, left: Expression, right: Expression) -> None:
        super().__init__(line)
        self.operator = operator
        self.left = left
        self.right = right

    def value(self, scope: Scope) -> Value:
        """Return what the operator makes of them."""
        left = self.left.value(scope)
        match self.operator:
            case "&&":
                return as_bool(left, self.line) and as_bool(self.right.value(scope), self.line)
            case "||":
                return as_bool(left, self.line) or as_bool(self.right.value(scope), self.line)
        right = self.right.value(scope)
        if self.operator in ("==", "!="):
            return equal(left, right) == (self.operator == "==")
        try:
            return ARITHMETIC[self.operator](as_number(left, self.line), as_number(right, self.line))
        except ArithmeticError as exc:
            raise ExpressionError("the result is too large a number", self.line) from exc


class Conditional(Expression):
    """`condition ? yes : no`."""

    __slots__ = ("condition", "no", "yes")

    def __init__(self, line: int, condition: Expression, yes: Expression, no: Expression) -> None:
        super().__init__(line)
        self.condition = condition
        self.yes = yes
        self.no = no

    def value(self, scope: Scope) -> Value:
        """Return one of both; primitive values of different types become texts."""
        decided = self.condition.value(scope)
        if decided is None:
            raise ExpressionError("the condition is null", self.line)
        chosen, other = (self.yes, self.no) if as_bool(decided, self.line) else (self.no, self.yes)
        found = chosen.value(scope)
        if isinstance(found, (bool, Decimal)):
            try:
                contrary = other.value(scope)
            except ExpressionError:
                return found
            if isinstance(contrary, str):
                return as_text(found)
        return found


class TupleNode(Expression):
    """A list."""

    __slots__ = ("items",)

    def __init__(self, line: int, items: tuple[Expression, ...]) -> None:
        super().__init__(line)
        self.items = items

    def value(self, scope: Scope) -> Value:
        """Return the list."""
        return [item.value(scope) for item in self.items]


class ObjectNode(Expression):
    """An object."""

    __slots__ = ("items",)

    def __init__(self, line: int, items: tuple[tuple[Expression, Expression], ...]) -> None:
        super().__init__(line)
        self.items = items

    def value(self, scope: Scope) -> Value:
        """Return the object."""
        return {key_text(key.value(scope), key.line): value.value(scope) for key, value in self.items}


class For(Expression):
    """A list, or with `key` an object, made of the elements of another; `groups`: values of one key become lists."""

    __slots__ = ("condition", "groups", "key", "names", "result", "source")

    def __init__(
        self,
        line: int,
        names: tuple[str, ...],
        source: Expression,
        key: Expression | None,
        result: Expression,
        condition: Expression | None,
        *,
        groups: bool,
    ) -> None:
        super().__init__(line)
        self.names = names
        self.source = source
        self.key = key
        self.result = result
        self.condition = condition
        self.groups = groups

    def value(self, scope: Scope) -> Value:
        """Return the list or the object."""
        inners = [Inner(scope, dict(zip(self.names, pair, strict=True))) for pair in self._pairs(scope)]
        if self.condition is not None:
            inners = [inner for inner in inners if as_bool(self.condition.value(inner), self.line)]
        if self.key is None:
            return [self.result.value(inner) for inner in inners]
        made: dict[str, Value] = {}
        for inner in inners:
            key = key_text(self.key.value(inner), self.line)
            if self.groups:
                made.setdefault(key, []).append(self.result.value(inner))
            elif key in made:
                raise ExpressionError(f'two items have the key "{key}"', self.line, remedy="group them with ...")
            else:
                made[key] = self.result.value(inner)
        return made

    def _pairs(self, scope: Scope) -> list[tuple[Value, ...]]:
        pairs = pairs_of(self.source.value(scope), self.line)
        return pairs if len(self.names) == 2 else [(value,) for _, value in pairs]
