"""From the bytes of a Dockerfile to logical lines: directives, comments, continuations, heredocs.

dockerfile-parse gets each of these wrong somewhere, so this is done before it sees the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from builder.dockerfile.words import split_words
from builder.errors import DockerfileError, Span

MAX_LINE_BYTES = 65535  # BuildKit's
DIRECTIVES = ("syntax", "escape", "check")
HEREDOC_KEYWORDS = ("RUN", "COPY", "ADD")
_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$")
_HEREDOC = re.compile(r"(\d*)<<(-?)([^<]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heredoc:
    """A heredoc: `content` is its body with a newline at each line's end; `expand` unless its word was quoted."""

    name: str
    fd: int
    expand: bool
    strip_tabs: bool
    content: str
    raw: str  # the body as written, with the terminator


@dataclass(frozen=True, slots=True, kw_only=True)
class LogicalLine:
    """One instruction: `text` with continuations joined and comments gone."""

    text: str
    heredocs: tuple[Heredoc, ...]
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """A Dockerfile in logical lines. `blank_continuations`: lines with the fault NoEmptyContinuation."""

    lines: tuple[LogicalLine, ...]
    directives: Mapping[str, str]
    escape: str
    blank_continuations: tuple[int, ...] = field(default=())


def read_lines(data: bytes, file: str) -> Lines:
    """Split `data`; raises DockerfileError with a span."""
    physical = _decode(data, file)
    directives = _directives(physical, file)
    escape = directives.get("escape", "\\")
    if escape not in ("\\", "`"):
        raise _at(file, 1, physical, f"invalid escape token '{escape}' does not match ` or \\", "use one of the two")
    reader = _Reader(physical, file, escape)
    return Lines(
        lines=tuple(reader.read()),
        directives=directives,
        escape=escape,
        blank_continuations=tuple(reader.blanks),
    )


def find_heredocs(text: str, escape: str) -> list[re.Match[str]]:
    """The heredoc markers among the words of an instruction; none in JSON form."""
    if "<<" not in text:
        return []
    found = (_HEREDOC.fullmatch(word) for word in split_words(text, escape))
    return [match for match in found if match and match[3].strip("'\"")]


class _Reader:
    def __init__(self, physical: list[str], file: str, escape: str) -> None:
        self._physical = physical
        self._file = file
        self._escape = escape
        self._continued = re.compile(rf"(?<!{re.escape(escape)}){re.escape(escape)}[ \t]*$")
        self._at = 0
        self.blanks: list[int] = []

    def read(self) -> list[LogicalLine]:
        result = []
        while self._at < len(self._physical):
            line = self._physical[self._at]
            if not line.strip() or line.lstrip().startswith("#"):
                self._at += 1
                continue
            result.append(self._logical())
        return result

    def _logical(self) -> LogicalLine:
        first = self._at
        text, more = self._cut(self._physical[self._at].lstrip())
        self._at += 1
        while more and self._at < len(self._physical):
            line = self._physical[self._at]
            self._at += 1
            if line.lstrip().startswith("#"):
                continue
            if not line.strip():
                self.blanks.append(self._at)
                continue
            part, more = self._cut(line)
            text += part
        heredocs = self._heredocs(text, first)
        span = Span(
            file=self._file,
            first_line=first + 1,
            last_line=self._at,
            text="\n".join(self._physical[first : self._at]),
        )
        return LogicalLine(text=text.rstrip(), heredocs=heredocs, span=span)

    def _cut(self, line: str) -> tuple[str, bool]:
        match = self._continued.search(line)
        return (line[: match.start()], True) if match else (line, False)

    def _heredocs(self, text: str, first: int) -> tuple[Heredoc, ...]:
        words = text.split(None, 2)
        if words and words[0].upper() == "ONBUILD":
            words = words[1:]
        if not words or words[0].upper() not in HEREDOC_KEYWORDS:
            return ()
        rest = text[text.upper().index(words[0].upper()) + len(words[0]) :].strip()
        if rest.startswith("["):
            return ()
        return tuple(self._body(match, first) for match in find_heredocs(rest, self._escape))

    def _body(self, match: re.Match[str], first: int) -> Heredoc:
        raw_name = match[3]
        name = raw_name.replace("'", "").replace('"', "").replace("\\", "")
        strip_tabs = match[2] == "-"
        content, raw = "", ""
        while self._at < len(self._physical):
            line = self._physical[self._at]
            self._at += 1
            raw += f"{line}\n"
            stripped = line.lstrip("\t") if strip_tabs else line
            if stripped == name:
                return Heredoc(
                    name=name,
                    fd=int(match[1] or 0),
                    expand=raw_name == name,
                    strip_tabs=strip_tabs,
                    content=content,
                    raw=raw,
                )
            content += f"{stripped}\n"
        raise _at(self._file, first + 1, self._physical, f'unterminated heredoc "{name}"', f"end it by a line {name}")


def _decode(data: bytes, file: str) -> list[str]:
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise _at(file, line, [], "the Dockerfile is not UTF-8 text", "save it as UTF-8") from exc
    if not data:
        raise DockerfileError(f"the Dockerfile {file} cannot be empty", remedy="begin with FROM")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    for number, content in enumerate(lines, start=1):
        if len(content) > MAX_LINE_BYTES:
            raise _at(
                file, number, [], f"dockerfile line greater than max allowed size of {MAX_LINE_BYTES}", "split it"
            )
    if lines and not lines[-1]:
        lines.pop()
    return lines


def _directives(physical: list[str], file: str) -> dict[str, str]:
    """`# key=value` lines at the very top; the first line that is none ends them."""
    result: dict[str, str] = {}
    for number, line in enumerate(physical, start=1):
        if number == 1 and line.startswith("#!"):
            continue
        match = _DIRECTIVE.fullmatch(line.strip())
        if not match or match[1].lower() not in DIRECTIVES:
            break
        key = match[1].lower()
        if key in result:
            raise _at(file, number, physical, f"only one {key} parser directive can be used", "remove the second")
        result[key] = match[2]
    return result


def _at(file: str, line: int, physical: list[str], message: str, remedy: str) -> DockerfileError:
    text = physical[line - 1] if line <= len(physical) else ""
    return DockerfileError(message, span=Span(file=file, first_line=line, last_line=line, text=text), remedy=remedy)
