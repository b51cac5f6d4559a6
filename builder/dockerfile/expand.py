"""Expand variables and remove quotes in one word, as BuildKit's shell lexer does (not as a shell does)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from builder.errors import DockerfileError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SPECIAL = frozenset("@*#?-$!0123456789")


class Lexer:
    """`escape` is the Dockerfile's escape character, a backslash or a backtick."""

    def __init__(self, escape: str = "\\") -> None:
        self._escape = escape

    def process_word(self, word: str, env: Mapping[str, str]) -> str:
        """The value of `word`; raises DockerfileError without a span."""
        if "$" not in word and "'" not in word and '"' not in word and self._escape not in word:
            return word
        return _Word(word, env, self._escape).process()

    def expand_body(self, text: str, env: Mapping[str, str]) -> str:
        """Expand a heredoc's body: variables and backslash escapes of `$` and itself; quotes are text."""
        return _Word(text, env, "\\").process_body()


class _Word:
    def __init__(self, text: str, env: Mapping[str, str], escape: str) -> None:
        self._text = text
        self._env = env
        self._escape = escape
        self._at = 0

    def process(self) -> str:
        return self._until("")

    def process_body(self) -> str:
        out = ""
        while char := self._next():
            if char == "$":
                out += self._dollar()
            elif char == "\\" and self._peek() in ("$", "\\"):
                out += self._next()
            else:
                out += char
        return out

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._peek()
        self._at += len(char)
        return char

    def _until(self, stop: str, *, raw_escapes: bool = False) -> str:
        """Process up to the character `stop` (consumed), or to the end if `stop` is empty."""
        out = ""
        while char := self._next():
            if char == stop:
                return out
            if char == "'":
                out += self._single_quoted()
            elif char == '"':
                out += self._double_quoted()
            elif char == "$":
                out += self._dollar()
            elif char == self._escape:
                follower = self._next()
                out += char + follower if raw_escapes else follower
            else:
                out += char
        if stop:
            raise DockerfileError(
                f"unexpected end of statement while looking for matching {stop}", remedy="close the expression"
            )
        return out

    def _single_quoted(self) -> str:
        end = self._text.find("'", self._at)
        if end < 0:
            raise DockerfileError(
                "unexpected end of statement while looking for matching single-quote", remedy="close the quote"
            )
        out, self._at = self._text[self._at : end], end + 1
        return out

    def _double_quoted(self) -> str:
        out = ""
        while char := self._next():
            if char == '"':
                return out
            if char == "$":
                out += self._dollar()
            elif char == self._escape:
                follower = self._next()
                out += follower if follower in ('"', "$", self._escape) else char + follower
            else:
                out += char
        raise DockerfileError(
            "unexpected end of statement while looking for matching double-quote", remedy="close the quote"
        )

    def _dollar(self) -> str:
        if self._peek() == "{":
            self._at += 1
            return self._braced()
        name = self._name()
        return self._env.get(name, "") if name else "$"

    def _name(self) -> str:
        match = _NAME.match(self._text, self._at)
        if match:
            self._at = match.end()
            return match[0]
        if self._peek() in _SPECIAL and self._peek():
            return self._next()
        return ""

    def _braced(self) -> str:
        start = self._at
        name = self._name()
        if not name:
            raise DockerfileError("bad substitution", remedy="write ${NAME}")
        char = self._next()
        value = self._env.get(name)
        if char == "}":
            return value or ""
        if char == "":
            raise DockerfileError("syntax error: missing '}'", remedy="close the expression")
        if char == ":":
            modifier = self._next()
            if modifier not in ("+", "-", "?"):
                raise self._unsupported(f":{modifier}", start)
            return self._default(name, value or None, modifier)
        if char in "+-?":
            return self._default(name, value, char)
        if char in "#%":
            greedy = self._peek() == char
            self._at += greedy
            return _trimmed(value or "", self._until("}", raw_escapes=True), at_end=char == "%", greedy=greedy)
        if char == "/":
            everywhere = self._peek() == "/"
            self._at += everywhere
            pattern = self._until("/", raw_escapes=True)
            replacement = self._until("}", raw_escapes=True)
            expression = re.compile(_translated(pattern, greedy=True), re.DOTALL)
            plain = re.sub(r"\\(.)", r"\1", replacement)
            return expression.sub(lambda _: plain, value or "", count=0 if everywhere else 1)
        raise self._unsupported(char, start)

    def _default(self, name: str, value: str | None, modifier: str) -> str:
        word = self._until("}")
        if modifier == "+":
            return word if value is not None else ""
        if value is not None:
            return value
        if modifier == "?":
            raise DockerfileError(f"{name}: {word or 'not allowed to be unset'}", remedy=f"set {name}")
        return word

    def _unsupported(self, modifier: str, start: int) -> DockerfileError:
        text = self._text[max(0, start - 2) :]
        return DockerfileError(
            f"unsupported modifier ({modifier}) in substitution {text}",
            remedy="use one of :- - :+ + :? ? # ## % %% / //",
        )


def _translated(pattern: str, *, greedy: bool) -> str:
    """A regular expression for a pattern of `*`, `?` and backslash escapes."""
    out, index = "", 0
    while index < len(pattern):
        char = pattern[index]
        index += 1
        if char == "\\" and index < len(pattern):
            out += re.escape(pattern[index])
            index += 1
        elif char == "*":
            out += ".*" if greedy else ".*?"
        elif char == "?":
            out += "."
        else:
            out += re.escape(char)
    return out


def _trimmed(value: str, pattern: str, *, at_end: bool, greedy: bool) -> str:
    """`value` without the shortest (or longest) part at its beginning or end that matches."""
    expression = re.compile(_translated(pattern, greedy=True), re.DOTALL)
    lengths = range(len(value), -1, -1) if greedy else range(len(value) + 1)
    for length in lengths:
        part = value[len(value) - length :] if at_end else value[:length]
        if expression.fullmatch(part):
            return value[: len(value) - length] if at_end else value[length:]
    return value
