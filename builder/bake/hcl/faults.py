"""What is wrong with a bake file, and where."""

from __future__ import annotations

from tiffin.builder.errors import BakeError, Span


class ExpressionError(Exception):
    """An expression that has no value; `line` is 0 where only the caller knows the place."""

    def __init__(self, message: str, line: int = 0, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.remedy = remedy

    def locate(self, line: int) -> None:
        """Have a line, unless there is one already."""
        self.line = self.line or line


class UndefinedError(ExpressionError):
    """A name that nothing defines."""


def wrong(message: str, file: str, line: int, *, remedy: str = "") -> BakeError:
    """Return the error of a line of a file."""
    span = Span(file=file, first_line=line, last_line=line) if line else None
    return BakeError(message, span=span, remedy=remedy)
