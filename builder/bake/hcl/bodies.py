"""Files to bodies: attributes and blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tiffin.builder.bake.hcl.expressions import Expression, Scope
from tiffin.builder.bake.hcl.faults import ExpressionError, wrong
from tiffin.builder.bake.hcl.parser import NAME, TOO_DEEP, Parser
from tiffin.builder.bake.hcl.values import Value
from tiffin.builder.errors import BakeError
from tiffin.cache.foundation.frozen import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """An attribute: a name and what it is."""

    name: str
    expression: Expression
    file: str
    line: int

    def value(self, scope: Scope) -> Value:
        """Return its value. Raises BakeError."""
        return self.located(lambda: self.expression.value(scope))

    def located(self, work: Callable[[], Value]) -> Value:
        """Return what `work` returns; what it finds wrong is wrong here. Raises BakeError."""
        try:
            return work()
        except ExpressionError as exc:
            raise self.wrong(exc.message, line=exc.line, remedy=exc.remedy) from exc
        except RecursionError as exc:
            raise self.wrong(TOO_DEEP, remedy="use variables for its parts") from exc

    def wrong(self, message: str, *, line: int = 0, remedy: str = "") -> BakeError:
        """Return the error of this attribute."""
        return wrong(f"{self.name}: {message}", self.file, line or self.line, remedy=remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What is in a file, or between the braces of a block."""

    attributes: dict[str, Definition] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)

    def put(self, definition: Definition) -> None:
        """Set an attribute."""
        self.attributes[definition.name] = definition

    def add(self, block: Block) -> None:
        """Add a block behind the others."""
        self.blocks.append(block)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block, such as a target."""

    kind: str
    labels: Sequence[str]
    body: Body
    file: str
    line: int

    @property
    def label(self) -> str:
        """Return its name. Raises BakeError where it has none or several."""
        if len(self.labels) != 1:
            raise self.wrong(f"{self.kind} needs one name, and has {len(self.labels)}", remedy='write {kind} "NAME" {')
        return self.labels[0]

    def wrong(self, message: str, *, remedy: str = "") -> BakeError:
        """Return the error of this block."""
        return wrong(message, self.file, self.line, remedy=remedy)

    def get(self, name: str) -> Definition | None:
        """Return an attribute."""
        return self.body.attributes.get(name)


def read_hcl(text: str, file: str) -> Body:
    """Return what a file in HCL's native syntax says. Raises BakeError."""
    parser = Parser(text, file)
    body = Body()
    parser.skip(lines=True)
    while parser.at < len(text):
        _statement(parser, body)
        _end_line(parser)
    return body


def _end_line(parser: Parser) -> None:
    """Go to the next line, where a definition has to end. Raises BakeError."""
    parser.skip()
    if parser.at < len(parser.text) and not parser.peek("\n"):
        raise parser.wrong(f"a definition ends before {parser.shown()}", remedy="begin a line there")
    parser.skip(lines=True)


def _statement(parser: Parser, body: Body, *, may_have_blocks: bool = True) -> None:
    line = parser.line
    name = parser.name("a line")
    parser.skip()
    if parser.peek("=") and not parser.peek("=="):
        parser.take("=")
        if name in body.attributes:
            raise parser.wrong(f"{name} is set twice, first on line {body.attributes[name].line}", line=line)
        expression = parser.expression()
        body.put(Definition(name=name, expression=expression, file=parser.file, line=line))
        return
    if not may_have_blocks:
        raise parser.wrong(f"{name} is in a block of one line", remedy="begin a line after its {")
    labels = []
    while not parser.peek("{"):
        labels.append(_label(parser, name))
        parser.skip()
    parser.take("{")
    inner = Body()
    parser.skip()
    if parser.peek("\n") or parser.at == len(parser.text):
        _lines(parser, inner, name, line)
    elif not parser.peek("}"):
        _statement(parser, inner, may_have_blocks=False)
        parser.skip()
        if not parser.peek("}"):
            raise parser.wrong(f"{name} has one line, and it goes on", line=line, remedy="begin a line after its {")
    parser.take("}")
    body.add(Block(kind=name, labels=labels, body=inner, file=parser.file, line=line))


def _lines(parser: Parser, inner: Body, name: str, line: int) -> None:
    """Read the lines of a block up to its end. Raises BakeError."""
    parser.skip(lines=True)
    while not parser.peek("}"):
        if parser.at == len(parser.text):
            raise parser.wrong(f"{name} has no end", line=line, remedy="close it with }")
        _statement(parser, inner)
        _end_line(parser)


def _label(parser: Parser, kind: str) -> str:
    if parser.peek('"'):
        label = parser.expression()
        if label.keyword():
            return label.keyword()
    elif found := parser.match(NAME):
        return found[0]
    raise parser.wrong(f"after {kind} comes =, a name or {{, not {parser.shown()}")
