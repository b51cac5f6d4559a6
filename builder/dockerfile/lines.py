"""From the bytes of a Dockerfile to logical lines: directives, comments, continuations, heredocs.

dockerfile-parse gets each of these wrong somewhere, so this is done before it sees the text. Faults are collected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tiffin.builder.dockerfile.heredoc import Heredoc, Marker, find_markers
from tiffin.builder.dockerfile.words import json_words, split_flags
from tiffin.builder.errors import DockerfileError, Span
from tiffin.cache.foundation.frozen import dataclass

MAX_LINE_BYTES = 65535  # BuildKit's
DIRECTIVES = ("syntax", "escape", "check")
ESCAPES = ("\\", "`")
_DIRECTIVE = r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*"
_COMMIT_MARK = r"(?i)\s#!\s*COMMIT\s*\Z"
_WITH_HEREDOC = r"(?i)(?:ONBUILD\s+)?(RUN|COPY|ADD)\s+"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogicalLine:
    """One instruction: `text` with continuations joined and comments gone, never blank.

    `comments` are those directly above it, without `#`; `empty_until` the last line of a
    continuation with a blank line inside, 0 without one.
    """

    text: str
    heredocs: tuple[Heredoc, ...]
    span: Span
    comments: tuple[str, ...] = ()
    empty_until: int = 0
    commit: bool = False  # marked with #!COMMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """A parser directive, `# name=value`, and its line."""

    value: str
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """A Dockerfile in logical lines, as far as it could be read, and what was wrong with the rest."""

    lines: tuple[LogicalLine, ...]
    directives: Mapping[str, Directive]
    escape: str
    errors: tuple[DockerfileError, ...]


def read_lines(data: bytes, file: str, *, escape: str | None = None, path: str = "") -> Lines:
    """Split `data`, the file at `path` if that is known.

    With `escape` the text is an ONBUILD trigger, which has no directives of its own.
    """
    reader = _Reader(data, file, path)
    directives = reader.directives() if escape is None else {}
    chosen = directives["escape"].value if "escape" in directives else escape or "\\"
    # under a wrong escape nothing below would be read as it is meant
    lines = reader.read(chosen) if chosen in ESCAPES else ()
    return Lines(
        lines=lines,
        directives=directives,
        escape=chosen,
        errors=tuple(sorted(reader.errors, key=lambda error: error.span.first_line if error.span else 0)),
    )


class _Reader:
    """Walks through the physical lines once; `_at` is the index of the next one."""

    def __init__(self, data: bytes, file: str, path: str) -> None:
        self._file = file
        self._path = path
        # bytes that are no UTF-8 harm nobody in a comment, so they are only refused where they are used
        text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
        self._physical = text.split("\n")
        if not self._physical[-1]:
            self._physical.pop()
        self._at = 0
        self._directive_lines: set[int] = set()
        self.errors: list[DockerfileError] = []
        self._check_lengths()

    def _check_lengths(self) -> None:
        for number, line in enumerate(self._physical, start=1):
            if len(line) * 4 > MAX_LINE_BYTES and len(line.encode("utf-8", "surrogateescape")) > MAX_LINE_BYTES:
                message = f"dockerfile line greater than max allowed size of {MAX_LINE_BYTES}"
                span = self._lines_of(number, number, line[:80] + "…")
                self.errors.append(DockerfileError(message, span=span, remedy="split the line"))

    def directives(self) -> dict[str, Directive]:
        """Return `# key=value` lines at the very top; the first line that is none ends them."""
        result: dict[str, Directive] = {}
        for index, line in enumerate(self._physical):
            match = re.fullmatch(_DIRECTIVE, line.strip())
            if not match or match[1].lower() not in DIRECTIVES:
                break
            key = match[1].lower()
            self._directive_lines.add(index)
            if key in result:
                self._fault(index, f"only one {key} parser directive can be used", "remove one of them")
                continue
            result[key] = Directive(value=match[2], span=self._span(index, index + 1))
            if key == "escape" and match[2] not in ESCAPES:
                self._fault(index, f"invalid escape token '{match[2]}' does not match ` or \\", "use one of the two")
        return result

    def read(self, escape: str) -> tuple[LogicalLine, ...]:
        continued = re.compile(rf"(?<!{re.escape(escape)}){re.escape(escape)}[ \t\r]*\Z")
        result: list[LogicalLine] = []
        comments: list[str] = []
        while self._at < len(self._physical):
            line = self._physical[self._at].strip()
            if line.startswith("#"):
                text = line[1:].strip()
                if not text:  # an empty comment parts what is above it from the instruction, an empty line does not
                    comments.clear()
                elif self._at not in self._directive_lines:
                    comments.append(text)
                self._at += 1
            elif not line:
                self._at += 1
            else:
                logical = self._logical(continued, escape, tuple(comments))
                comments.clear()
                if logical:
                    result.append(logical)
        return tuple(result)

    def _logical(self, continued: re.Pattern[str], escape: str, comments: tuple[str, ...]) -> LogicalLine | None:
        """Return the instruction that begins here, with its heredocs; None when nothing remains of it or it is
        faulty.
        """
        first = self._at
        parts: list[str] = []
        has_empty = False
        more = True
        while more and self._at < len(self._physical):
            line = self._physical[self._at].rstrip("\r")
            self._at += 1
            if parts and line.lstrip().startswith("#"):
                continue
            if not line.strip():
                has_empty = True
                continue
            match = continued.search(line)
            parts.append(line[: match.start()] if match else line)
            more = match is not None
        empty_until = self._at if has_empty else 0
        text, commit = _without_marker("".join(parts).strip())
        heredocs = self._heredocs(text, escape, first)
        if not text or heredocs is None or not self._is_clean(first, text + "".join(body.raw for body in heredocs)):
            return None
        span = self._span(first, self._at)
        return LogicalLine(
            text=text,
            heredocs=heredocs,
            span=span,
            comments=comments,
            empty_until=empty_until,
            commit=commit,
        )

    def _heredocs(self, text: str, escape: str, first: int) -> tuple[Heredoc, ...] | None:
        """Return the bodies that follow the instruction, None when one does not end."""
        match = re.match(_WITH_HEREDOC, text) if "<<" in text else None
        if not match:
            return ()
        _, value = split_flags(text[match.end() :], escape)
        try:
            if json_words(value) is not None:
                return ()
        except DockerfileError:
            return ()  # told when the instruction is read
        shell = match[1].upper() == "RUN"
        bodies: list[Heredoc] = []
        for marker in find_markers(value, shell=shell):
            body = self._body(marker, keep_returns=not shell)
            if body is None:
                self._fault(first, f'unterminated heredoc "{marker.name}"', f"end it with a line {marker.name}")
                return None
            bodies.append(body)
        return tuple(bodies)

    def _body(self, marker: Marker, *, keep_returns: bool) -> Heredoc | None:
        """Return the lines up to the terminator. A carriage return is content for COPY and breaks any script of RUN."""
        content: list[str] = []
        raw: list[str] = []
        while self._at < len(self._physical):
            line = self._physical[self._at]
            self._at += 1
            bare = line.rstrip("\r")
            stripped = bare.lstrip("\t") if marker.strip_tabs else bare
            if stripped == marker.name:
                return Heredoc(
                    name=marker.name,
                    fd=marker.fd,
                    expand=marker.expand,
                    strip_tabs=marker.strip_tabs,
                    content="".join(content),
                    raw="".join([*raw, marker.name, "\n"]),
                )
            kept = line if keep_returns else bare
            raw.append(f"{kept}\n")
            content.append(f"{kept.lstrip(chr(9)) if marker.strip_tabs else kept}\n")
        return None

    def _is_clean(self, first: int, used: str) -> bool:
        """Whether `used`, of the lines from `first` on, is text that can be stored in an image."""
        message, remedy = "", ""
        if "\0" in used:
            message, remedy = "the instruction contains a NUL byte", "save the Dockerfile as UTF-8 text"
        elif not used.isascii() and not _is_unicode(used):
            message, remedy = "the instruction is not UTF-8 text", "save the Dockerfile as UTF-8"
        if message:
            self.errors.append(DockerfileError(message, span=self._span(first, self._at), remedy=remedy))
        return not message

    def _span(self, first: int, end: int) -> Span:
        """Return the lines from index `first` up to `end`; what is no UTF-8 is shown as question marks."""
        text = "\n".join(line.rstrip("\r") for line in self._physical[first:end])
        text = text if text.isascii() else text.encode("utf-8", "replace").decode()
        return self._lines_of(first + 1, end, text)

    def _lines_of(self, first: int, last: int, text: str) -> Span:
        return Span(file=self._file, first_line=first, last_line=last, text=text, path=self._path)

    def _fault(self, index: int, message: str, remedy: str) -> None:
        self.errors.append(DockerfileError(message, span=self._span(index, index + 1), remedy=remedy))


def _without_marker(text: str) -> tuple[str, bool]:
    """Return the instruction without Makisu's mark at its end, and whether it had one."""
    if "#!" not in text:
        return text, False
    plain = re.sub(_COMMIT_MARK, "", text) if "#" in text else text
    return plain, plain != text


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
