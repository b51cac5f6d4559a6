"""A Dockerfile as a list of instructions with flags, JSON form and heredocs. Owner of dockerfile-parse.

lines.py repairs what that library cannot read; it then splits each logical line into keyword and value.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from builder.dockerfile.lines import Heredoc, Lines, LogicalLine, read_lines
from builder.dockerfile.suggest import did_you_mean
from builder.errors import DockerfileError, DockerfileErrors, Span

__all__ = ["Dockerfile", "Flag", "Heredoc", "Instruction", "parse", "parse_trigger"]

KEYWORDS = (
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD",
    "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
)  # fmt: skip
JSON_KEYWORDS = ("RUN", "CMD", "ENTRYPOINT", "SHELL", "COPY", "ADD", "VOLUME")
NOT_IN_ONBUILD = ("ONBUILD", "FROM", "MAINTAINER")
# Stands at the end of every line handed to dockerfile-parse, which would read a last backslash as a continuation.
END_MARK = "\ue000"
_FLAG = re.compile(r"--([A-Za-z0-9][A-Za-z0-9-]*)(?:=(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """A leading `--name[=value]`; `value` None when there is no `=`."""

    name: str
    value: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction as written; nothing is expanded.

    `value` is the text after the flags, `raw` the text after the keyword, `json` the words of the JSON form or None.
    """

    keyword: str
    flags: tuple[Flag, ...]
    value: str
    raw: str
    json: tuple[str, ...] | None
    heredocs: tuple[Heredoc, ...]
    span: Span
    escape: str = "\\"

    @property
    def raw_with_heredocs(self) -> str:
        """`value` and the heredoc bodies as written: what a shell must see, or ONBUILD must keep."""
        text = self.raw if self.keyword == "ONBUILD" else self.value
        return "\n".join([text, "".join(heredoc.raw for heredoc in self.heredocs)]) if self.heredocs else text

    @property
    def is_lone_heredoc(self) -> bool:
        """Whether the value is one heredoc marker and nothing else."""
        return len(self.heredocs) == 1 and len(self.value.split()) == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """A parsed Dockerfile."""

    instructions: tuple[Instruction, ...]
    directives: Mapping[str, str]
    escape: str
    file: str


def parse(data: bytes, file: str) -> Dockerfile:
    """Parse a Dockerfile; all faults are raised together. Raises DockerfileError, DockerfileErrors."""
    lines = read_lines(data, file)
    if not lines.lines:
        raise DockerfileError(f"{file} has no instructions", remedy="begin with FROM")
    errors: list[DockerfileError] = []
    instructions = []
    for line, (keyword, value) in zip(lines.lines, _split(lines), strict=True):
        try:
            instructions.append(_instruction(line, keyword, value, lines.escape))
        except DockerfileError as exc:
            errors.append(exc)
    if errors:
        raise errors[0] if len(errors) == 1 else DockerfileErrors(errors)
    return Dockerfile(instructions=tuple(instructions), directives=lines.directives, escape=lines.escape, file=file)


def parse_trigger(text: str, file: str, span: Span) -> Instruction:
    """Parse what stands after ONBUILD; raises DockerfileError at `span`."""
    try:
        lines = read_lines(text.encode(), file)
        ((keyword, value),) = _split(lines)
        result = _instruction(lines.lines[0], keyword, value, lines.escape)
    except DockerfileError as exc:
        raise DockerfileError(f"ONBUILD: {exc.message}", span=span, remedy=exc.remedy) from exc
    except ValueError as exc:
        raise DockerfileError("ONBUILD takes exactly one instruction", span=span, remedy="write one per line") from exc
    if result.keyword == "ONBUILD":
        raise DockerfileError(
            "chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", span=span, remedy="write one ONBUILD"
        )
    if result.keyword in NOT_IN_ONBUILD:
        raise DockerfileError(
            f"{result.keyword} isn't allowed as an ONBUILD trigger", span=span, remedy="use another instruction"
        )
    return Instruction(
        keyword=result.keyword,
        flags=result.flags,
        value=result.value,
        raw=result.raw,
        json=result.json,
        heredocs=result.heredocs,
        span=span,
        escape=result.escape,
    )


def _split(lines: Lines) -> list[tuple[str, str]]:
    """Keyword and value of every logical line, by dockerfile-parse."""
    from dockerfile_parse import DockerfileParser

    text = "".join(f"{line.text} {END_MARK}\n" for line in lines.lines)
    structure = DockerfileParser(fileobj=io.BytesIO(text.encode())).structure
    return [(item["instruction"], item["value"].removesuffix(END_MARK).strip()) for item in structure]


def _instruction(line: LogicalLine, keyword: str, raw: str, escape: str) -> Instruction:
    if keyword not in KEYWORDS:
        raise DockerfileError(
            f"unknown instruction: {line.text.split()[0]}",
            span=line.span,
            remedy=did_you_mean(keyword, KEYWORDS) or "see the Dockerfile reference",
        )
    flags, value = _flags(raw, escape) if keyword != "ONBUILD" else ((), raw)
    words = None
    if keyword in JSON_KEYWORDS and not line.heredocs:
        words = _json_form(value, line.span)
    elif keyword == "HEALTHCHECK" and value[:4].upper() == "CMD ":
        words = _json_form(value[4:].strip(), line.span)
    return Instruction(
        keyword=keyword,
        flags=flags,
        value=value,
        raw=raw,
        json=words,
        heredocs=line.heredocs,
        span=line.span,
        escape=escape,
    )


def _flags(raw: str, escape: str) -> tuple[tuple[Flag, ...], str]:
    """The leading flags, and the text after them. Quotes in a value are removed; `--` alone ends the flags."""
    flags: list[Flag] = []
    rest = raw
    while rest.startswith("--"):
        word, value = _first_word(rest, escape)
        if value == "--":
            rest = rest[len(word) :].lstrip()
            break
        match = _FLAG.fullmatch(value)
        if not match:
            break
        flags.append(Flag(name=match[1], value=match[2]))
        rest = rest[len(word) :].lstrip()
    return tuple(flags), rest


def _first_word(text: str, escape: str) -> tuple[str, str]:
    """The first word as written, and without quotes and escapes."""
    plain, quote, index = "", "", 0
    while index < len(text):
        char = text[index]
        if not quote and char.isspace():
            break
        index += 1
        if char == escape and quote != "'" and index < len(text):
            plain += text[index]
            index += 1
        elif quote:
            quote, plain = ("", plain) if char == quote else (quote, plain + char)
        elif char in "'\"":
            quote = char
        else:
            plain += char
    return text[:index], plain


def _json_form(value: str, span: Span) -> tuple[str, ...] | None:
    """The words if `value` is a JSON array of strings; anything that is no JSON array is shell form."""
    if not value.startswith("["):
        return None
    try:
        words = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(word, str) for word in words):
        raise DockerfileError(
            "when using JSON array syntax, arrays must be comprised of strings only",
            span=span,
            remedy="put quotes around every element",
        )
    return tuple(words)
