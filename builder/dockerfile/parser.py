"""A Dockerfile as a list of instructions with flags, JSON form and heredocs. Owner of dockerfile-parse.

lines.py repairs what that library cannot read (dockerfile reference, sections 1.1 to 1.4); it then gets one physical
line per instruction and splits each into keyword and value. Arguments are checked by tiffin.builder.instructions.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from tiffin.builder.dockerfile.heredoc import Heredoc, find_markers
from tiffin.builder.dockerfile.lines import Directive, Lines, LogicalLine, read_lines
from tiffin.builder.dockerfile.suggest import did_you_mean
from tiffin.builder.dockerfile.words import json_words, split_flags
from tiffin.builder.errors import DockerfileError, DockerfileErrors, Span
from tiffin.cache.foundation.frozen import dataclass, replace

__all__ = ["Directive", "Dockerfile", "Heredoc", "Instruction", "InstructionFlag", "parse", "parse_trigger"]

KEYWORDS = (
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD",
    "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
)  # fmt: skip
JSON_KEYWORDS = ("RUN", "CMD", "ENTRYPOINT", "SHELL", "COPY", "ADD", "VOLUME")
# Stands at the end of every line handed to dockerfile-parse: it reads a last backslash as a continuation, and drops a
# keyword without arguments.
END_MARK = "\ue000"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructionFlag:
    """A leading `--name[=value]`; `value` None when there is no `=`."""

    name: str
    value: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction as written; nothing is expanded.

    `value` is the text after the flags, `raw` the text after the keyword, `json` the words of the JSON form or None,
    `written` the keyword as it stands in the file, `comments` the lines directly above, `empty_until` the last line of
    a continuation with a blank line inside (0: no blank line), `commit` whether Makisu's `#!COMMIT` stood at its end.
    """

    keyword: str
    flags: tuple[InstructionFlag, ...]
    value: str
    raw: str
    json: tuple[str, ...] | None
    heredocs: tuple[Heredoc, ...]
    span: Span
    escape: str = "\\"
    written: str = ""
    comments: tuple[str, ...] = ()
    empty_until: int = 0
    commit: bool = False

    @property
    def raw_with_heredocs(self) -> str:
        """`value` and the heredoc bodies as written: what a shell must see, or ONBUILD must keep."""
        text = self.raw if self.keyword == "ONBUILD" else self.value
        return "\n".join([text, "".join(heredoc.raw for heredoc in self.heredocs)]) if self.heredocs else text

    @property
    def value_without_heredocs(self) -> str:
        """`value` without the heredoc markers; what COPY and ADD split into words."""
        text, end = "", 0
        for marker in find_markers(self.value, shell=self.keyword == "RUN") if self.heredocs else ():
            text += self.value[end : marker.start]
            end = marker.end
        return text + self.value[end:]

    @property
    def is_lone_heredoc(self) -> bool:
        """Whether the value is one heredoc marker and nothing else."""
        return len(self.heredocs) == 1 and not self.value_without_heredocs.strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """A parsed Dockerfile; `directives` are the values of syntax, escape and check, where given."""

    instructions: tuple[Instruction, ...]
    directives: Mapping[str, str]
    escape: str
    file: str
    check: Directive | None = None  # the check directive with its place, for errors in it
    faults: tuple[DockerfileError, ...] = ()  # what could not be read; such instructions are left out


def parse(data: bytes, file: str, *, keep_faults: bool = False, path: str = "") -> Dockerfile:
    """Parse a Dockerfile; all faults are raised together. Raises DockerfileError, DockerfileErrors.

    `keep_faults` leaves them to whoever reads the instructions, so that theirs are told at once with them. `path`:
    where the file is, if that is known.
    """
    lines = read_lines(data, file, path=path)
    errors = list(lines.errors)
    if not lines.lines and not errors:
        raise _nothing_in(data, file)
    instructions = []
    for line, (keyword, value) in zip(lines.lines, _split(lines), strict=True):
        try:
            instructions.append(_instruction(line, keyword, value, lines.escape))
        except DockerfileError as exc:
            errors.append(exc)
    if errors and not keep_faults:
        raise together(errors)
    return Dockerfile(
        instructions=tuple(instructions),
        directives={name: directive.value for name, directive in lines.directives.items()},
        escape=lines.escape,
        file=file,
        check=lines.directives.get("check"),
        faults=tuple(errors),
    )


def together(errors: Sequence[DockerfileError]) -> DockerfileError | DockerfileErrors:
    """Return one error for all of `errors`, in the order of lines."""
    ordered = sorted(errors, key=lambda error: error.span.first_line if error.span else 0)
    return ordered[0] if len(ordered) == 1 else DockerfileErrors(ordered)


def parse_trigger(text: str, file: str, span: Span, *, escape: str = "\\") -> Instruction:
    """Parse what stands after ONBUILD; raises DockerfileError at `span`.

    `escape` is that of the Dockerfile it stands in; the triggers of a base image are read with a backslash.
    """
    lines = read_lines(text.encode("utf-8", "surrogateescape"), file, escape=escape)
    if lines.errors:
        raise _in_trigger(lines.errors[0], span)
    if len(lines.lines) != 1:
        raise DockerfileError("ONBUILD takes exactly one instruction", span=span, remedy="write one per line")
    ((keyword, value),) = _split(lines)
    if keyword == "ONBUILD":
        message = "chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"
        raise DockerfileError(message, span=span, remedy="write one ONBUILD")
    if keyword in ("FROM", "MAINTAINER"):
        message = f"{keyword} isn't allowed as an ONBUILD trigger"
        raise DockerfileError(message, span=span, remedy="use another instruction")
    try:
        return replace(_instruction(lines.lines[0], keyword, value, escape), span=span)
    except DockerfileError as exc:
        raise _in_trigger(exc, span) from exc


def _nothing_in(data: bytes, file: str) -> DockerfileError:
    span = Span(file=file, first_line=1, last_line=1)
    if not data.removeprefix(b"\xef\xbb\xbf"):
        return DockerfileError("the Dockerfile cannot be empty", span=span, remedy="begin with FROM")
    return DockerfileError("file with no instructions", span=span, remedy="begin with FROM")


def _in_trigger(error: DockerfileError, span: Span) -> DockerfileError:
    return DockerfileError(f"ONBUILD: {error.message}", span=span, remedy=error.remedy)


def _split(lines: Lines) -> list[tuple[str, str]]:
    """Split the file into the keyword and value of every logical line, by dockerfile-parse where a line is not plain.

    To load it takes 9 % of a rebuild with nothing changed.
    """
    if all(map(_is_plain, lines.lines)):
        return [_keyword_and_rest(line.text) for line in lines.lines]
    return _split_by_library(lines)


def _is_plain(line: LogicalLine) -> bool:
    """Whether a line is printable ASCII behind a keyword: what spaces are, and which end it, nobody reads otherwise."""
    text = line.text
    return text.isascii() and text.isprintable() and text.partition(" ")[0].upper() in KEYWORDS


def _keyword_and_rest(text: str) -> tuple[str, str]:
    keyword, _, rest = text.partition(" ")
    return keyword.upper(), rest.strip()


def _split_by_library(lines: Lines) -> list[tuple[str, str]]:
    from dockerfile_parse import DockerfileParser

    text = "".join(f"{line.text} {END_MARK}\n" for line in lines.lines)
    structure = DockerfileParser(fileobj=io.BytesIO(text.encode())).structure
    return [(item["instruction"], item["value"].removesuffix(END_MARK).strip()) for item in structure]


def _instruction(line: LogicalLine, keyword: str, raw: str, escape: str) -> Instruction:
    written = line.text.split(None, 1)[0]
    apart = line.text[len(written) : len(written) + 1]
    if not apart.isascii():
        remedy = f"put a plain space in place of U+{ord(apart):04X} after {written}"
        raise DockerfileError(f"unknown instruction: {line.text[:40]}", span=line.span, remedy=remedy)
    if keyword not in KEYWORDS:
        remedy = did_you_mean(keyword, KEYWORDS) or f"the instructions are {', '.join(KEYWORDS)}"
        raise DockerfileError(f"unknown instruction: {written}", span=line.span, remedy=remedy)
    flags, value = split_flags(raw, escape)
    if keyword == "ONBUILD":
        _check_trigger(line, raw, escape)
        flags, value = (), raw  # its flags are those of the trigger
    return Instruction(
        keyword=keyword,
        flags=tuple(InstructionFlag(name=name, value=text) for name, text in flags),
        value=value,
        raw=raw,
        json=_json(keyword, value, line),
        heredocs=line.heredocs,
        span=line.span,
        escape=escape,
        written=written,
        comments=line.comments,
        empty_until=line.empty_until,
        commit=line.commit,
    )


def _check_trigger(line: LogicalLine, raw: str, escape: str) -> None:
    """Tell the faults of a trigger with those of the file; one without text is told by its instruction class."""
    if raw:
        bodies = "".join(heredoc.raw for heredoc in line.heredocs)
        parse_trigger(f"{raw}\n{bodies}", line.span.file, line.span, escape=escape)


def _json(keyword: str, value: str, line: LogicalLine) -> tuple[str, ...] | None:
    """Return the words of the JSON form, for the keywords that have one; heredocs only stand in the plain form."""
    if keyword == "HEALTHCHECK":
        kind, value = (*value.split(None, 1), "", "")[:2]
        if kind.upper() != "CMD":
            return None
    elif keyword not in JSON_KEYWORDS or line.heredocs:
        return None
    try:
        return json_words(value.strip())
    except DockerfileError as exc:
        exc.locate(line.span)
        raise
