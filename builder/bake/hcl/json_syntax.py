"""Bake files in JSON, where texts are templates (HCL's JSON syntax)."""

from __future__ import annotations

import re
from decimal import Decimal
from json import JSONDecodeError, decoder

from tiffin.builder.bake.hcl.bodies import Block, Body, Definition
from tiffin.builder.bake.hcl.expressions import Expression, Literal, ObjectNode, TupleNode
from tiffin.builder.bake.hcl.faults import wrong
from tiffin.builder.bake.hcl.parser import MAX_DEPTH, parse_expression, parse_template
from tiffin.builder.bake.hcl.values import number
from tiffin.builder.errors import BakeError

NESTED = {"variable": ("validation",)}  # blocks within blocks, which have no names
TYPE = ("variable", "type")  # a text that is an expression
NAMED = ("variable", "function", "group", "target")
_SPACE = re.compile(r"[ \t\r\n]*")
_ATOM = re.compile(r"true|false|null|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
scan = decoder.scanstring  # type: ignore[attr-defined] # of the standard library, though its stubs do not tell
WORDS = {"true": True, "false": False, "null": None}


def read_json(text: str, file: str) -> Body:
    """Return what a file says. Raises BakeError."""
    return _body(_Reader(text, file).document(), "", file)


def _body(node: ObjectNode, kind: str, file: str) -> Body:
    body = Body()
    for key, value in node.items:
        name = key.keyword()
        if not kind and name in NAMED:
            for label, content in _pairs(value, name, file):
                for inner in _bodies(content, label.keyword(), file):
                    made = _body(inner, name, file)
                    body.add(Block(kind=name, labels=[label.keyword()], body=made, file=file, line=label.line))
        elif name in NESTED.get(kind, ()):
            for inner in _bodies(value, name, file):
                made = _body(inner, name, file)
                body.add(Block(kind=name, labels=[], body=made, file=file, line=key.line))
        elif name != "//":  # a comment, by HCL's rules
            if (kind, name) == TYPE and value.keyword():
                value = parse_expression(value.keyword(), file, value.line)
            body.put(Definition(name=name, expression=value, file=file, line=key.line))
    return body


def _pairs(value: Expression, kind: str, file: str) -> list[tuple[Expression, Expression]]:
    return [pair for node in _bodies(value, kind, file) for pair in node.items]


def _bodies(value: Expression, what: str, file: str) -> list[ObjectNode]:
    nodes = value.items if isinstance(value, TupleNode) else (value,)
    found = [node for node in nodes if isinstance(node, ObjectNode)]
    if len(found) < len(nodes):
        raise wrong(f"{what} is not an object", file, value.line, remedy="write {…}")
    return found


class _Reader:
    """Reads JSON with the lines of all values."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._at = 0

    def document(self) -> ObjectNode:
        """Return the object that the file is. Raises BakeError."""
        found = self._value(0)
        self._skip()
        if self._at < len(self._text) or not isinstance(found, ObjectNode):
            raise self._wrong("a bake file in JSON is one object")
        return found

    def _line(self) -> int:
        return self._text.count("\n", 0, self._at) + 1

    def _wrong(self, message: str) -> BakeError:
        return wrong(message, self._file, self._line())

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._at)
        assert found is not None
        self._at = found.end()

    def _take(self, letter: str) -> bool:
        self._skip()
        if not self._text.startswith(letter, self._at):
            return False
        self._at += 1
        return True

    def _value(self, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise self._wrong("the file is nested too deeply")
        self._skip()
        line = self._line()
        if self._take("{"):
            return self._object(line, depth)
        if self._take("["):
            return self._list(line, depth)
        if self._take('"'):
            return parse_template(self._string(), self._file, line)
        if found := _ATOM.match(self._text, self._at):
            self._at = found.end()
            return Literal(line, WORDS[found[0]] if found[0] in WORDS else self._number(found[0]))
        raise self._wrong("a value is needed")

    def _number(self, text: str) -> Decimal:
        try:
            return number(text)
        except ValueError as exc:
            raise self._wrong(str(exc)) from exc

    def _object(self, line: int, depth: int) -> Expression:
        items: list[tuple[Expression, Expression]] = []
        while not self._take("}"):
            if items and not self._take(","):
                raise self._wrong("a comma is needed")
            if not self._take('"'):
                raise self._wrong("a name in quotes is needed")
            at = self._line()
            key = parse_template(self._string(), self._file, at)
            if not self._take(":"):
                raise self._wrong("a colon is needed")
            items.append((key, self._value(depth + 1)))
        return ObjectNode(line, tuple(items))

    def _list(self, line: int, depth: int) -> Expression:
        items: list[Expression] = []
        while not self._take("]"):
            if items and not self._take(","):
                raise self._wrong("a comma is needed")
            items.append(self._value(depth + 1))
        return TupleNode(line, tuple(items))

    def _string(self) -> str:
        try:
            text, self._at = scan(self._text, self._at, True)
        except JSONDecodeError as exc:
            raise self._wrong(exc.msg) from exc
        return str(text)
