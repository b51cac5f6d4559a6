"""Errors as text: one line, and for a Dockerfile the lines it is about."""

from __future__ import annotations

from builder.errors import BuildError, DockerfileError, DockerfileErrors, RunError, Span, TiffinError

RULE = "--------------------"


def describe(error: TiffinError) -> str:
    """What to print for `error`."""
    match error:
        case DockerfileErrors():
            return "\n".join(describe(one) for one in error.errors)
        case RunError():
            return _with_excerpt(error, error.span) + _tail(error.tail)
        case DockerfileError() | BuildError():
            return _with_excerpt(error, error.span)
        case _:
            return f"error: {error}"


def _with_excerpt(error: TiffinError, span: Span | None) -> str:
    if span is None or not span.text:
        return f"error: {error}"
    lines = span.text.split("\n")
    width = len(str(span.last_line))
    numbered = [f"  {number:>{width}} | >>> {line}" for number, line in enumerate(lines, start=span.first_line)]
    return "\n".join([f"error: {error}", RULE, *numbered, RULE])


def _tail(tail: str) -> str:
    lines = [line for line in tail.rstrip().split("\n") if line][-10:]
    return "".join(f"\n  > {line}" for line in lines)
