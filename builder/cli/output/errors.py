"""Errors as text: one line, and for a Dockerfile the lines it is about, as BuildKit shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tiffin.builder.cli.output.renderer import GITHUB
from tiffin.builder.errors import BakeError, BuildError, DockerfileError, DockerfileErrors, RunError, Span, TiffinError
from tiffin.builder.plain_text import plain_lines

RULE = "--------------------"
MARK = ">>>"
CONTEXT_LINES = 2  # before and after what is marked; BuildKit's
TAIL_LINES = 20  # of a command's last output
MAX_FILE_BYTES = 16 << 20


def told(error: TiffinError, environ: Mapping[str, str]) -> str:
    """Return what to print for `error` in the place that this runs in."""
    if environ.get(GITHUB) != "true":
        return describe(error)
    from tiffin.builder.cli.output.plain.github import annotated

    return annotated(error, describe(error), environ)


def describe(error: TiffinError) -> str:
    """Return what to print for `error`."""
    match error:
        case DockerfileErrors():
            return "\n".join(describe(one) for one in error.errors)
        case RunError():
            return "\n".join([*_tail(error.tail), *_excerpt(error.span), f"error: {error}"])
        case DockerfileError() | BuildError() | BakeError():
            return "\n".join([*_excerpt(error.span), f"error: {error}"])
        case _:
            return f"error: {error}"


def _excerpt(span: Span | None) -> list[str]:
    """Return the lines of the span, marked, between their neighbours where the file still has them."""
    if span is None or not span.text:
        return []
    marked = span.text.split("\n")
    before, after = _neighbours(span, marked)
    first = span.first_line - len(before)
    lines = [
        *((False, line) for line in before),
        *((True, line) for line in marked),
        *((False, line) for line in after),
    ]
    width = max(4, len(str(first + len(lines))))
    numbered = [
        f"{number:>{width}} | {MARK if is_marked else '   '} {line}".rstrip()
        for number, (is_marked, line) in enumerate(lines, start=first)
    ]
    return [str(span), RULE, *numbered, RULE]


def _neighbours(span: Span, marked: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the lines around the span; none if the file is not at hand or has other lines there."""
    try:
        with Path(span.file).open("rb") as stream:
            lines = stream.read(MAX_FILE_BYTES).decode("utf-8", "replace").splitlines()
    except (OSError, ValueError):
        return [], []
    start, end = span.first_line - 1, span.first_line - 1 + len(marked)
    if [line.rstrip() for line in lines[start:end]] != [line.rstrip() for line in marked]:
        return [], []
    return lines[max(0, start - CONTEXT_LINES) : start], lines[end : end + CONTEXT_LINES]


def _tail(tail: str) -> list[str]:
    """Return a command's last lines of output."""
    lines = plain_lines(tail)[-TAIL_LINES:]
    return ["------", *(f" > {line}" for line in lines), "------"] if lines else []
