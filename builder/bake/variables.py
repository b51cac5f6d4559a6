"""Variables of bake files: types, defaults, values that the caller gives, conditions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from tiffin.builder.bake.definition import Variable
from tiffin.builder.bake.entries import split_csv
from tiffin.builder.bake.hcl.bodies import Block
from tiffin.builder.bake.hcl.faults import ExpressionError
from tiffin.builder.bake.hcl.types import (
    ANY,
    BOOL,
    LIST,
    MAP,
    NUMBER,
    PRIMITIVES,
    SET,
    STRING,
    TUPLE,
    Type,
    convert,
    read_type,
)
from tiffin.builder.bake.hcl.values import Set, Value, as_bool, as_text, json_value, kind_of, number, to_json
from tiffin.builder.options import truth

if TYPE_CHECKING:
    from tiffin.builder.bake.hcl.expressions import Scope

JSON_SUFFIX = "_JSON"  # of a variable of the environment that has JSON for the one without


class Declared:
    """A variable as its block declares it; `known` are the names of all."""

    def __init__(self, block: Block, scope: Scope, look_up: Callable[[str], str | None], known: frozenset[str]) -> None:
        self._block = block
        self._scope = scope
        self._look_up = look_up
        self._known = known
        self.name = block.label

    def block_value(self, read: Callable[[str], Value]) -> Value:
        """Return the value; what is wrong is so in this block. Raises BakeError."""
        try:
            return read(self.name)
        except ExpressionError as exc:
            raise self._block.wrong(exc.message, remedy=exc.remedy) from exc

    def value(self) -> Value:
        """Return the value: what the caller gives, or the default. Raises BakeError, ExpressionError."""
        wanted = self._type()
        default = self._default(wanted)
        text, is_json = self._given(favours_json=wanted is not None)
        if text is None:
            return default
        try:
            return self._from_text(text, wanted, default, is_json=is_json)
        except ExpressionError as exc:
            raise self._block.wrong(exc.message, remedy=exc.remedy or "give another value") from exc

    def validate(self) -> None:
        """Check what the blocks `validation` demand. Raises BakeError."""
        for block in self._block.body.blocks:
            if block.kind != "validation":
                continue
            condition = block.get("condition")
            found = condition.value(self._scope) if condition is not None else None
            if condition is None or found is None:
                raise block.wrong(
                    "Condition expression must return either true or false, not null.", remedy="add condition = …"
                )
            if condition.located(partial(as_bool, found)):
                continue
            told = block.get("error_message")
            message = told.value(self._scope) if told is not None else None
            shown = as_text(message) if message is not None else "This check failed, but has an invalid error message."
            raise condition.wrong(f"Validation failed: {shown}", remedy=f"give {self.name} another value")

    def shown(self, value: Value) -> Variable:
        """Return it as a list shows it."""
        wanted, told = self._type(), self._block.get("description")
        text = None
        if value is not None:
            text = to_json(value) if isinstance(value, (list, dict)) else as_text(value)
        return Variable(
            name=self.name,
            kind=wanted.friendly() if wanted else "",
            value=text,
            description=as_text(told.value(self._scope)) if told is not None else "",
        )

    def collection(self) -> str:
        """Return the name of the declared type if it is one of lists or maps, else "". Raises BakeError."""
        wanted = self._type()
        return wanted.friendly() if wanted is not None and wanted.kind not in (*PRIMITIVES, ANY) else ""

    def _type(self) -> Type | None:
        """Return the declared type, None where there is none."""
        found = self._block.get("type")
        if found is None:
            return None
        made: Type = found.located(lambda: read_type(found.expression))
        return made

    def _default(self, wanted: Type | None) -> Value:
        found = self._block.get("default")
        if found is None:
            return None if wanted is not None else ""
        value = found.value(self._scope)
        if wanted is None:
            return value
        try:
            return convert(value, wanted)
        except ExpressionError as exc:
            what = f"invalid type {wanted.friendly()} for variable {self.name} default value"
            raise found.wrong(f"{what}: {exc.message}") from exc

    def _given(self, *, favours_json: bool) -> tuple[str | None, bool]:
        """Return what the caller gives, and whether it is JSON."""
        text, other = self._look_up(self.name), self.name + JSON_SUFFIX
        if (text is None or favours_json) and other not in self._known:
            as_json = self._look_up(other)
            if as_json is not None:
                return as_json, True
        return text, False

    def _from_text(self, text: str, wanted: Type | None, default: Value, *, is_json: bool) -> Value:
        if wanted is None:
            if self._block.get("default") is None or default is None:
                return text
            if isinstance(default, (list, dict)):
                raise ExpressionError(f"unsupported type {kind_of(default)} for variable {self.name}")
            return self._primitive(text, kind_of(default))
        if is_json:
            try:
                return convert(json_value(text), wanted)
            except ValueError as exc:
                raise ExpressionError(f"failed to convert variable {self.name} from JSON: {exc}") from exc
        if wanted.kind in (LIST, SET, TUPLE, MAP):
            return self._from_csv(text, wanted)
        if wanted.kind in PRIMITIVES:
            return self._primitive(text, wanted.kind)
        if wanted.kind == ANY:
            return text
        raise ExpressionError(f"unsupported type {wanted.friendly()} for variable {self.name}")

    def _from_csv(self, text: str, wanted: Type) -> Value:
        try:
            fields = split_csv(text)
        except ExpressionError as exc:
            raise ExpressionError(f"failed to convert variable {self.name} from CSV: {exc.message}") from exc
        if any(item.kind not in PRIMITIVES for item in wanted.of):
            raise ExpressionError(
                f"unsupported type {wanted.friendly()} for CSV specification", remedy=f"set {self.name}{JSON_SUFFIX}"
            )
        if wanted.kind == TUPLE:
            if len(fields) != len(wanted.of):
                raise ExpressionError(f"tuple expects {len(wanted.of)} elements but only {len(fields)} provided")
            return [self._primitive(item, of.kind) for item, of in zip(fields, wanted.of, strict=True)]
        if wanted.kind == MAP:
            return dict(self._pair(item, wanted.of[0].kind) for item in fields)
        items = [self._primitive(item, wanted.of[0].kind) for item in fields]
        return Set(items) if wanted.kind == SET else items

    def _pair(self, text: str, kind: str) -> tuple[str, Any]:
        key, colon, value = text.partition(":")
        if not colon or (":" in value and not value.startswith('"')):
            raise ExpressionError(f"expected one k/v pair but got {text.count(':') + 1} pieces from {text}")
        return key, self._primitive(value, kind)

    def _primitive(self, text: str, kind: str) -> Value:
        match kind:
            case "bool":
                found = truth(text)
                if found is None:
                    raise ExpressionError(f"failed to parse {self.name} as {BOOL}", remedy="give true or false")
                return found
            case "number":
                try:
                    return number(text)
                except ValueError as exc:
                    raise ExpressionError(f"failed to parse {self.name} as {NUMBER}", remedy="give a number") from exc
        assert kind == STRING, kind
        return text
