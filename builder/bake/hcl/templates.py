"""Texts with ${expressions} and %{directives}: from pieces to an expression."""

from __future__ import annotations

import re
from typing import Protocol

from tiffin.builder.bake.hcl.expressions import Conditional, Expression, For, Literal, Scope, Template
from tiffin.builder.bake.hcl.values import Value
from tiffin.builder.errors import BakeError

_TEXT = re.compile(r"(?:[^$%\n]|\$(?!\$?\{)|%(?!%?\{))*\n|(?:[^$%\n]|\$(?!\$?\{)|%(?!%?\{))+")


class Reader(Protocol):
    """What templates need of a parser."""

    text: str
    at: int

    @property
    def line(self) -> int:
        """Return the line that is being read."""

    def peek(self, word: str) -> bool:
        """Whether `word` is next."""

    def accept(self, word: str) -> bool:
        """Go behind `word`, if it is next."""

    def take(self, word: str) -> bool:
        """Go behind `word`, if it is next behind blanks."""

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Go behind what matches, if it does."""

    def name(self, what: str) -> str:
        """Return a name. Raises BakeError."""

    def open(self, bracket: str) -> bool:
        """Go behind a bracket; return what `close` takes."""

    def close(self, bracket: str, what: str, outer: bool) -> None:
        """Go behind the bracket that ends `what`. Raises BakeError."""

    def expression(self) -> Expression:
        """Return the expression that is next. Raises BakeError."""

    def loop(self) -> tuple[tuple[str, ...], Expression]:
        """Return the names and the source of a for. Raises BakeError."""

    def wrong(self, message: str, *, remedy: str = "", line: int = 0) -> BakeError:
        """Return the error of the place that is being read."""


class Piece:
    """A part of a template: a text, an expression, or a directive, which is a `word`; `names` are those of for."""

    __slots__ = ("expression", "line", "names", "text", "word")

    def __init__(
        self,
        line: int,
        *,
        text: str = "",
        word: str = "",
        expression: Expression | None = None,
        names: tuple[str, ...] = (),
    ) -> None:
        self.line = line
        self.text = text
        self.word = word
        self.expression = expression
        self.names = names


class Pieces:
    """The pieces of a template, read one after the other."""

    def __init__(self, parser: Reader) -> None:
        self.parser = parser
        self.list: list[Piece] = []
        self._trims_next = False

    def add_text(self, text: str) -> None:
        """Add a text; those of one line are one."""
        if self._trims_next:
            text = text.lstrip()
        if self.list and not self.list[-1].word and self.list[-1].expression is None:
            last = self.list[-1]
            if not last.text.endswith("\n"):
                self.list[-1] = Piece(last.line, text=last.text + text)
                return
        self._trims_next = False
        self.list.append(Piece(self.parser.line, text=text))

    def took_marker(self) -> bool:
        """Add an expression or a directive, if one is next. Raises BakeError."""
        parser = self.parser
        for escape, plain in (("$${", "${"), ("%%{", "%{")):
            if parser.accept(escape):
                self.add_text(plain)
                return True
        is_directive = parser.peek("%{")
        if not is_directive and not parser.peek("${"):
            return False
        line = parser.line
        outer = parser.open("${")
        if parser.accept("~"):
            self._trim_last()
        piece = self._directive(line) if is_directive else Piece(line, expression=parser.expression())
        self._trims_next = parser.take("~")
        parser.close("}", "a directive" if is_directive else "${", outer)
        self.list.append(piece)
        return True

    def _trim_last(self) -> None:
        if self.list and not self.list[-1].word and self.list[-1].expression is None:
            last = self.list[-1]
            self.list[-1] = Piece(last.line, text=last.text.rstrip())

    def _directive(self, line: int) -> Piece:
        parser = self.parser
        word = parser.name("a directive")
        match word:
            case "if":
                return Piece(line, word=word, expression=parser.expression())
            case "for":
                names, source = parser.loop()
                return Piece(line, word=word, names=names, expression=source)
            case "else" | "endif" | "endfor":
                return Piece(line, word=word)
        raise parser.wrong(f"there is no directive {word}", remedy="there are if, else, endif, for and endfor")


def heredoc_pieces(parser: Reader) -> Pieces:
    """Return the pieces of a text that has no quotes around it. Raises BakeError."""
    pieces = Pieces(parser)
    while parser.at < len(parser.text):
        if found := parser.match(_TEXT):
            pieces.add_text(found[0])
        elif not pieces.took_marker():  # a marker that is not one cannot be: _TEXT takes all others
            raise parser.wrong("this is not a template")
    return pieces


def dedent(pieces: Pieces) -> Pieces:
    """Return pieces without the blanks that all lines begin with, as <<- has it."""
    begins = [
        index
        for index, piece in enumerate(pieces.list)
        if index == 0 or ((before := pieces.list[index - 1]).text.endswith("\n") and not before.word)
    ]
    depths = [
        len(text) - len(text.lstrip())
        for index in begins
        if (text := pieces.list[index].text) == "" or text.strip() or not text.endswith("\n")
    ]
    depth = min(depths, default=0)
    made = Pieces(pieces.parser)
    for index, piece in enumerate(pieces.list):
        if index in begins and piece.text and (piece.text.strip() or not piece.text.endswith("\n")):
            piece = Piece(piece.line, text=piece.text[depth:])
        made.list.append(piece)
    return made


class Joined(Expression):
    """The texts that a loop makes, as one."""

    __slots__ = ("loop",)

    def __init__(self, loop: For) -> None:
        super().__init__(loop.line)
        self.loop = loop

    def value(self, scope: Scope) -> Value:
        """Return the text."""
        return "".join(self.loop.value(scope))


def assemble(pieces: Pieces, line: int) -> Expression:
    """Return the expression of a template; one of a single expression is that, whatever its type. Raises BakeError."""
    parts = _Assembler(pieces).parts(())
    if len(parts) == 1:
        if isinstance(parts[0], Literal) or pieces.list[0].expression is parts[0]:
            return parts[0]
    elif not parts:
        return Literal(line, "")
    return Template(line, parts)


class _Assembler:
    """Puts directives together with what is between them."""

    def __init__(self, pieces: Pieces) -> None:
        self._parser = pieces.parser
        self._rest = list(reversed(pieces.list))
        self.ended_by = ""

    def parts(self, ends: tuple[str, ...], line: int = 0) -> list[Expression]:
        """Return the parts up to one of the directives `ends`. Raises BakeError."""
        found: list[Expression] = []
        while self._rest:
            piece = self._rest.pop()
            if piece.word in ends:
                self.ended_by = piece.word
                return found
            match piece.word:
                case "":
                    found.append(piece.expression or Literal(piece.line, piece.text))
                case "if":
                    found.append(self._if(piece))
                case "for":
                    found.append(self._for(piece))
                case _:
                    raise self._parser.wrong(f"%{{ {piece.word} }} has no beginning", line=piece.line)
        if ends:
            raise self._parser.wrong(f"a directive needs %{{ {ends[-1]} }}", line=line)
        return [part for part in found if not (isinstance(part, Literal) and part.literal == "")] or found[:1]

    def _if(self, piece: Piece) -> Expression:
        yes = self.parts(("else", "endif"), piece.line)
        no = self.parts(("endif",), piece.line) if self.ended_by == "else" else []
        assert piece.expression is not None
        return Conditional(piece.line, piece.expression, Template(piece.line, yes), Template(piece.line, no))

    def _for(self, piece: Piece) -> Expression:
        body = Template(piece.line, self.parts(("endfor",), piece.line))
        assert piece.expression is not None
        return Joined(For(piece.line, piece.names, piece.expression, None, body, None, groups=False))
