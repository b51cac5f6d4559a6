"""Types of variables: what `type = list(string)` says, and values made to fit."""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.builder.bake.hcl.expressions import Call, Expression, Literal, ObjectNode, Scope, TupleNode, Variable
from tiffin.builder.bake.hcl.faults import ExpressionError
from tiffin.builder.bake.hcl.values import Set, Value, as_bool, as_number, as_text, kind_of
from tiffin.cache.foundation.frozen import dataclass, field

STRING, NUMBER, BOOL, ANY = "string", "number", "bool", "any"
PRIMITIVES = (STRING, NUMBER, BOOL)
LIST, SET, MAP, OBJECT, TUPLE = "list", "set", "map", "object", "tuple"
HELP = "write string, number, bool, any, list(T), set(T), map(T), tuple([T, …]) or object({name = T, …})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Type:
    """A type. `of` are those of the elements: one, or of a tuple all."""

    kind: str
    of: tuple[Type, ...] = ()
    attributes: Mapping[str, Type] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()

    def friendly(self) -> str:
        """Return its name for people."""
        if self.kind in (LIST, SET, MAP):
            return f"{self.kind} of {self.of[0].friendly()}"
        return "any type" if self.kind == ANY else self.kind


def read_type(expression: Expression) -> Type:
    """Return the type that an expression names. Raises ExpressionError."""
    match expression:
        case Variable(name=name) if name in (*PRIMITIVES, ANY):
            return Type(kind=name)
        case Call(name=name, arguments=(element,)) if name in (LIST, SET, MAP):
            return Type(kind=name, of=(read_type(element),))
        case Call(name="tuple", arguments=(TupleNode(items=items),)):
            return Type(kind=TUPLE, of=tuple(map(read_type, items)))
        case Call(name="object", arguments=(ObjectNode(items=items),)):
            return _object(items, expression.line)
    raise ExpressionError("this is not the name of a type", expression.line, remedy=HELP)


def _object(items: tuple[tuple[Expression, Expression], ...], line: int) -> Type:
    attributes, optional = {}, set()
    for key, value in items:
        name = key.keyword() if isinstance(key, Literal) else ""
        if not name:
            raise ExpressionError("an attribute of object() has no plain name", line, remedy=HELP)
        if isinstance(value, Call) and value.name == "optional" and len(value.arguments) == 1:
            optional.add(name)
            value = value.arguments[0]
        attributes[name] = read_type(value)
    return Type(kind=OBJECT, attributes=attributes, optional=frozenset(optional))


class Convert(Expression):
    """convert(VALUE, TYPE)."""

    __slots__ = ("source", "wanted")

    def __init__(self, line: int, source: Expression, wanted: Expression) -> None:
        super().__init__(line)
        self.source = source
        self.wanted = wanted

    def value(self, scope: Scope) -> Value:
        """Return the value as one of the type."""
        return convert(self.source.value(scope), read_type(self.wanted))


def convert(value: Value, wanted: Type) -> Value:
    """Return a value as one of a type. Raises ExpressionError."""
    if value is None or wanted.kind == ANY:
        return value
    match wanted.kind:
        case "string":
            return as_text(value)
        case "number":
            return as_number(value)
        case "bool":
            return as_bool(value)
        case "list" | "set":
            if not isinstance(value, list):
                raise ExpressionError(f"{wanted.friendly()} required, not {kind_of(value)}")
            items = [_element(f"element {index}", item, wanted.of[0]) for index, item in enumerate(value)]
            return items if wanted.kind == LIST else Set(items)
        case "map":
            if not isinstance(value, dict):
                raise ExpressionError(f"{wanted.friendly()} required, not {kind_of(value)}")
            return {key: _element(f'element "{key}"', item, wanted.of[0]) for key, item in value.items()}
        case "tuple":
            if not isinstance(value, list) or len(value) != len(wanted.of):
                raise ExpressionError(f"tuple of {len(wanted.of)} elements required")
            return [
                _element(f"element {index}", *pair) for index, pair in enumerate(zip(value, wanted.of, strict=True))
            ]
    return _to_object(value, wanted)


def _to_object(value: Value, wanted: Type) -> Value:
    if not isinstance(value, dict):
        raise ExpressionError(f"object required, not {kind_of(value)}")
    missing = [f'"{name}"' for name in wanted.attributes if name not in value and name not in wanted.optional]
    if missing:
        many = len(missing) > 1
        raise ExpressionError(f"attribute{'s' if many else ''} {', '.join(missing)} {'are' if many else 'is'} required")
    return {
        name: _element(f'attribute "{name}"', value[name], of) if name in value else None
        for name, of in wanted.attributes.items()
    }


def _element(what: str, value: Value, wanted: Type) -> Value:
    try:
        return convert(value, wanted)
    except ExpressionError as exc:
        raise ExpressionError(f"{what}: {exc.message}") from exc
