"""Text to expressions, by HCL's native syntax."""

from __future__ import annotations

import re
from decimal import Decimal

from tiffin.builder.bake.hcl.expressions import (
    ELEMENT,
    Attribute,
    Binary,
    Call,
    Conditional,
    Expression,
    For,
    Index,
    Literal,
    ObjectNode,
    Splat,
    TupleNode,
    Unary,
    Variable,
)
from tiffin.builder.bake.hcl.faults import wrong
from tiffin.builder.bake.hcl.templates import Pieces, assemble, dedent, heredoc_pieces
from tiffin.builder.bake.hcl.types import Convert
from tiffin.builder.bake.hcl.values import number
from tiffin.builder.errors import BakeError

CONVERT = "convert"  # whose second argument is a type
TOO_DEEP = "the expression is nested too deeply"
MAX_DEPTH = 100  # of brackets in brackets
_SPACE = re.compile(r"(?:[ \t\r]+|#[^\n]*|//[^\n]*|/\*.*?\*/)*", re.S)
_SPACES = re.compile(r"(?:[ \t\r\n]+|#[^\n]*|//[^\n]*|/\*.*?\*/)*", re.S)
NAME = re.compile(r"[^\W\d][\w-]*")
_FUNCTION = re.compile(r"[^\W\d][\w-]*(?:::[^\W\d][\w-]*)*(?=[ \t]*\()")
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_DIGITS = re.compile(r"\d+")
_OPERATOR = re.compile(r"==|!=|<=|>=|&&|\|\||[-+*/%<>]")
_FOR = re.compile(r"for(?=\s+[^\W\d])")
_IF = re.compile(r"if\b")
_HEREDOC = re.compile(r"<<(-?)([^\W\d][\w-]*)[ \t]*\r?\n")
_TEXT = re.compile(r'(?:[^"\\$%\n]|\$(?!\$?\{)|%(?!%?\{))+')
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
PRECEDENCE = {
    "||": 1, "&&": 2, "==": 3, "!=": 3, "<": 4, "<=": 4, ">": 4, ">=": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6,
}  # fmt: skip
WORDS = {"true": True, "false": False, "null": None}


class Parser:
    """Reads one text; `line` is that of its beginning. `at` is where it reads."""

    def __init__(self, text: str, file: str, *, line: int = 1) -> None:
        self.text = text
        self.file = file
        self.at = 0
        self._counted = 0  # characters whose lines are in _line
        self._line = line
        self._many_lines = False  # a line's end is but a blank, as within brackets
        self._depth = 0

    # -- the text ------------------------------------------------------------------------------------------------------

    @property
    def line(self) -> int:
        """Return the line that is being read."""
        if self.at < self._counted:
            self._line -= self.text.count("\n", self.at, self._counted)
        else:
            self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line

    def wrong(self, message: str, *, remedy: str = "", line: int = 0) -> BakeError:
        """Return the error of the place that is being read."""
        return wrong(message, self.file, line or self.line, remedy=remedy)

    def skip(self, *, lines: bool | None = None) -> None:
        """Go behind blanks and comments, and ends of lines where they do not count."""
        pattern = _SPACES if (self._many_lines if lines is None else lines) else _SPACE
        found = pattern.match(self.text, self.at)
        assert found is not None
        self.at = found.end()

    def peek(self, word: str) -> bool:
        """Whether `word` is next."""
        return self.text.startswith(word, self.at)

    def take(self, word: str) -> bool:
        """Go behind `word`, if it is next behind blanks."""
        self.skip()
        return self.accept(word)

    def accept(self, word: str) -> bool:
        """Go behind `word`, if it is next."""
        if not self.peek(word):
            return False
        self.at += len(word)
        return True

    def need(self, word: str, what: str) -> None:
        """Go behind `word`. Raises BakeError."""
        if not self.take(word):
            raise self.wrong(f'{what} needs "{word}", not {self.shown()}')

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Go behind what matches, if it does."""
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def name(self, what: str) -> str:
        """Return a name. Raises BakeError."""
        self.skip()
        found = self.match(NAME)
        if found is None:
            raise self.wrong(f"{what} needs a name, not {self.shown()}")
        return found[0]

    def shown(self) -> str:
        """Return what is next, for messages."""
        rest = self.text[self.at : self.at + 20].split("\n")[0].strip()
        return f'"{rest}"' if rest else "the end of the line" if self.at < len(self.text) else "the end"

    # -- expressions ---------------------------------------------------------------------------------------------------

    def expression(self) -> Expression:
        """Return the expression that is next. Raises BakeError."""
        self._deeper()
        condition = self._binary(1)
        if self.take("?"):
            line = self.line
            yes = self.expression()
            self.need(":", "a condition")
            condition = Conditional(line, condition, yes, self.expression())
        self._depth -= 1
        return condition

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self.wrong(TOO_DEEP, remedy="use variables for its parts")

    def _binary(self, lowest: int) -> Expression:
        left = self._unary()
        while True:
            before = self.at
            self.skip()
            found = self.match(_OPERATOR)
            if found is None or PRECEDENCE[found[0]] < lowest:
                self.at = before
                return left
            line = self.line
            left = Binary(line, found[0], left, self._binary(PRECEDENCE[found[0]] + 1))

    def _unary(self) -> Expression:
        self.skip()
        for operator in "-!":
            if self.peek(operator):
                line = self.line
                self.at += 1
                self._deeper()
                operand = self._unary()
                self._depth -= 1
                if operator == "-" and isinstance(operand, Literal) and isinstance(operand.literal, Decimal):
                    return Literal(line, operand.literal.copy_negate())
                return Unary(line, operator, operand)
        return self._steps(self._term())

    def _steps(self, source: Expression) -> Expression:
        """Return a term with the attributes, elements and splats that follow it."""
        while True:
            before = self.at
            self.skip()
            line = self.line
            if self.peek("...") or not (self.peek(".") or self.peek("[")):
                self.at = before
                return source
            if self.peek("["):
                source = self._bracket(source, line)
                continue
            self.at += 1
            if self.take("*"):
                source = Splat(line, source, self._attributes(Variable(line, ELEMENT)))
            elif digits := self.match(_DIGITS):
                source = Index(line, source, Literal(line, number(digits[0])))
            else:
                source = Attribute(line, source, self.name("an attribute"))

    def _attributes(self, source: Expression) -> Expression:
        """Return what follows .* and is read of each element: attributes only."""
        while self.peek(".") and not self.peek("..."):
            line = self.line
            self.at += 1
            if digits := self.match(_DIGITS):
                source = Index(line, source, Literal(line, number(digits[0])))
            else:
                source = Attribute(line, source, self.name("an attribute"))
        return source

    def _bracket(self, source: Expression, line: int) -> Expression:
        outer = self.open("[")
        if self.take("*"):
            self.close("]", "a splat", outer)
            return Splat(line, source, self._steps(Variable(line, ELEMENT)))
        key = self.expression()
        self.close("]", "an index", outer)
        return Index(line, source, key)

    def open(self, bracket: str) -> bool:
        """Go behind a bracket, within which ends of lines do not count; return what `close` takes."""
        self.at += len(bracket)
        outer, self._many_lines = self._many_lines, True
        return outer

    def close(self, bracket: str, what: str, outer: bool) -> None:
        """Go behind the bracket that ends `what`. Raises BakeError."""
        self.need(bracket, what)
        self._many_lines = outer

    def _term(self) -> Expression:
        line = self.line
        letter = self.text[self.at : self.at + 1]
        if letter == "(":
            outer = self.open("(")
            inner = self.expression()
            self.close(")", "an expression in brackets", outer)
            return inner
        if letter == '"':
            return self._quoted()
        if letter == "[":
            return self._tuple(line)
        if letter == "{":
            return self._object(line)
        if self.peek("<<"):
            return self._heredoc(line)
        if found := self.match(_NUMBER):
            return self._number(line, found[0])
        if found := self.match(_FUNCTION):
            return self._call(line, found[0])
        if found := self.match(NAME):
            return Literal(line, WORDS[found[0]]) if found[0] in WORDS else Variable(line, found[0])
        raise self.wrong(f"an expression is needed, not {self.shown()}")

    def _number(self, line: int, text: str) -> Expression:
        try:
            return Literal(line, number(text))
        except ValueError as exc:
            raise self.wrong(str(exc)) from exc

    def _call(self, line: int, name: str) -> Expression:
        self.skip()
        outer = self.open("(")
        arguments: list[Expression] = []
        expands = False
        while not self.take(")"):
            if expands or (arguments and not self.take(",")):
                raise self.wrong(f"{name}() has no end", remedy="close the bracket")
            if self.take(")"):
                break
            arguments.append(self.expression())
            expands = self.take("...")
        self._many_lines = outer
        if name == CONVERT and len(arguments) == 2:
            return Convert(line, *arguments)
        return Call(line, name.split("::")[-1], tuple(arguments), expands=expands)

    def _tuple(self, line: int) -> Expression:
        outer = self.open("[")
        self.skip()
        if self.match(_FOR):
            made = self._for(line, is_object=False)
            self.close("]", "for", outer)
            return made
        items: list[Expression] = []
        while not self.take("]"):
            if items:
                self.need(",", "a list")
                if self.take("]"):
                    break
            items.append(self.expression())
        self._many_lines = outer
        return TupleNode(line, tuple(items))

    def loop(self) -> tuple[tuple[str, ...], Expression]:
        """Return the names and the source of a for. Raises BakeError."""
        names = [self.name("for")]
        if self.take(","):
            names.append(self.name("for"))
        if self.name("for") != "in":
            raise self.wrong("for needs in", remedy="write for NAME in LIST")
        return tuple(names), self.expression()

    def _for(self, line: int, *, is_object: bool) -> Expression:
        names, source = self.loop()
        self.need(":", "for")
        key = None
        result = self.expression()
        if is_object:
            self.need("=>", "for")
            key, result = result, self.expression()
        groups = is_object and self.take("...")
        self.skip()
        condition = None
        if self.match(_IF):
            condition = self.expression()
        return For(line, names, source, key, result, condition, groups=groups)

    def _object(self, line: int) -> Expression:
        outer = self.open("{")
        self.skip()
        if self.match(_FOR):
            made = self._for(line, is_object=True)
            self.close("}", "for", outer)
            return made
        items: list[tuple[Expression, Expression]] = []
        self._many_lines = False
        self.skip(lines=True)
        while not self.take("}"):
            key = self._object_key()
            if not self.take(":"):
                self.need("=", "an object's item")
            items.append((key, self.expression()))
            self.skip()
            if not (self.take(",") or self.peek("\n") or self.peek("}")):
                raise self.wrong(f"an object's items need a comma or a line each, not {self.shown()}")
            self.skip(lines=True)
        self._many_lines = outer
        return ObjectNode(line, tuple(items))

    def _object_key(self) -> Expression:
        line, before = self.line, self.at
        if found := self.match(NAME):
            self.skip()
            if self.peek("=") or self.peek(":"):
                return Literal(line, found[0])
            self.at = before
        return self.expression()

    # -- texts ---------------------------------------------------------------------------------------------------------

    def _quoted(self) -> Expression:
        line = self.line
        self.at += 1
        pieces = Pieces(self)
        while not self.peek('"'):
            if found := self.match(_TEXT):
                pieces.add_text(found[0])
            elif found := self.match(_ESCAPE):
                pieces.add_text(self._escaped(found))
            elif not pieces.took_marker():
                raise self.wrong("a text has no end on its line", remedy='close it with "', line=line)
        self.at += 1
        return assemble(pieces, line)

    def _escaped(self, found: re.Match[str]) -> str:
        if found[3] is None:
            return chr(int(found[1] or found[2], 16))
        if found[3] not in ESCAPES:
            raise self.wrong(f"\\{found[3]} is not an escape", remedy='there are \\n, \\r, \\t, \\", \\\\ and \\uNNNN')
        return ESCAPES[found[3]]

    def _heredoc(self, line: int) -> Expression:
        begin = self.match(_HEREDOC)
        if begin is None:
            raise self.wrong("a heredoc needs a name and a line's end after <<", remedy="write <<NAME")
        first = self.line
        end = re.compile(rf"^[ \t]*{re.escape(begin[2])}[ \t\r]*$", re.M).search(self.text, self.at)
        if end is None:
            raise self.wrong(f"the heredoc has no end {begin[2]}", remedy="write it on a line of its own", line=line)
        inner = Parser(self.text[self.at : end.start()], self.file, line=first)
        pieces = heredoc_pieces(inner)
        self.at = end.end()
        return assemble(dedent(pieces) if begin[1] else pieces, line)


def parse_template(text: str, file: str, line: int) -> Expression:
    """Return the expression that a text with ${…} is. Raises BakeError."""
    return assemble(heredoc_pieces(Parser(text, file, line=line)), line)


def parse_expression(text: str, file: str, line: int) -> Expression:
    """Return the expression that a text is. Raises BakeError."""
    parser = Parser(text, file, line=line)
    found = parser.expression()
    parser.skip(lines=True)
    if parser.at < len(text):
        raise parser.wrong(f"the expression ends before {parser.shown()}")
    return found
