"""Expand variables and remove quotes, as BuildKit's shell lexer does (not as a shell does).

Operators and quoting are those of the dockerfile reference, section 1.3. What an operator is given (`w` of `${n:-w}`)
is expanded whether it is needed or not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tiffin.builder.errors import DockerfileError
from tiffin.cache.foundation.frozen import dataclass

MAX_DEPTH = 64  # of ${a:-${b:-…}}: more is not a Dockerfile, and Python's stack is finite
_SPECIAL = frozenset("@*#?-$!0")
_OPERATORS = "use one of :- - :+ + :? ? # ## % %% / //"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """A text after expansion, split at blanks outside quotes, and the names it asked for."""

    text: str
    words: tuple[str, ...]
    used: frozenset[str]
    unset: frozenset[str]


class Lexer:
    """`escape` is the Dockerfile's escape character, a backslash or a backtick."""

    def __init__(self, escape: str = "\\") -> None:
        self.escape = escape

    def process_word(self, word: str, env: Mapping[str, str], unset: set[str] | None = None) -> str:
        """Return the value of `word`, blanks included; raises DockerfileError without a span.

        Names that `env` lacks are added to `unset`, also where an operator gives a default, and before an error.
        """
        if "$" not in word and "'" not in word and '"' not in word and self.escape not in word:
            return word
        return _Expander(word, env, self.escape, unset=unset).run().text

    def process_words(self, text: str, env: Mapping[str, str]) -> list[str]:
        """Return the words of `text`, split after expansion: a variable may hold several.

        Raises as process_word does.
        """
        return list(self.expand(text, env).words)

    def expand(self, text: str, env: Mapping[str, str]) -> Expansion:
        """Return all there is to know of an expansion; raises as process_word does."""
        return _Expander(text, env, self.escape).run()

    def expand_body(self, text: str, env: Mapping[str, str], unset: set[str] | None = None) -> str:
        """Expand a heredoc's body: quotes are text, and a backslash (whatever the escape is) makes the next plain."""
        return _Expander(text, env, "\\", quotes=False, unset=unset).run().text


class _Words:
    """Collects words while the text goes by."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._word = ""

    def add(self, text: str) -> None:
        """Add text whose blanks separate words."""
        for char in text:
            if not char.isspace():
                self._word += char
            else:
                self.finish()

    def add_quoted(self, text: str) -> None:
        self._word += text

    def finish(self) -> None:
        if self._word:
            self.words.append(self._word)
        self._word = ""


class _Expander:
    """One pass over one text; `_at` is the index of the next character."""

    def __init__(
        self, text: str, env: Mapping[str, str], escape: str, *, quotes: bool = True, unset: set[str] | None = None
    ) -> None:
        self._text = text
        self._env = env
        self._escape = escape
        self._quotes = "'\"" if quotes else ""
        self._at = 0
        self._depth = 0
        self._used: set[str] = set()
        self._unset = set() if unset is None else unset

    def run(self) -> Expansion:
        words = _Words()
        text = self._until("", words=words)
        words.finish()
        return Expansion(text=text, words=tuple(words.words), used=frozenset(self._used), unset=frozenset(self._unset))

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._peek()
        self._at += len(char)
        return char

    def _until(self, stop: str, *, raw: bool = False, words: _Words | None = None) -> str:
        """Expand up to the character `stop` (consumed), or to the end if `stop` is empty. `raw` keeps escapes."""
        out: list[str] = []
        sink = words or _Words()
        while char := self._next():
            if char == stop:
                return "".join(out)
            if char == "$":
                part = self._dollar()
                sink.add(part)
            elif char in self._quotes:
                part = self._single_quoted() if char == "'" else self._double_quoted(raw=raw)
                sink.add_quoted(part)
            elif char == self._escape:
                part = (char if raw else "") + self._next()
                sink.add_quoted(part)
            else:
                part = char
                sink.add(part)
            out.append(part)
        if stop:
            raise self._error("syntax error: missing '}'" if stop == "}" else "syntax error: missing '/' in ${}")
        return "".join(out)

    def _single_quoted(self) -> str:
        end = self._text.find("'", self._at)
        if end < 0:
            raise self._error("unexpected end of statement while looking for matching single-quote")
        part, self._at = self._text[self._at : end], end + 1
        return part

    def _double_quoted(self, *, raw: bool) -> str:
        out: list[str] = []
        while char := self._next():
            if char == '"':
                return "".join(out)
            if char == "$":
                out.append(self._dollar())
            elif char == self._escape:
                escapes = self._peek() in ('"', "$", self._escape)
                out.append((char if raw else "") + (self._next() if escapes else char))
            else:
                out.append(char)
        raise self._error("unexpected end of statement while looking for matching double-quote")

    def _dollar(self) -> str:
        if self._peek() != "{":
            name = self._name()
            return (self._value(name) or "") if name else "$"
        self._at += 1
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"substitutions nested more than {MAX_DEPTH} deep")
        result = self._braced()
        self._depth -= 1
        return result

    def _name(self) -> str:
        """Return a name, a run of digits or one special character, else nothing."""
        start = self._at
        if self._peek().isdecimal():
            while self._peek().isdecimal():
                self._at += 1
        elif self._peek() in _SPECIAL:
            self._at += 1
        else:
            while self._peek() == "_" or self._peek().isalpha() or self._peek().isdecimal():
                self._at += 1
        return self._text[start : self._at]

    def _value(self, name: str) -> str | None:
        value = self._env.get(name)
        (self._used if value is not None else self._unset).add(name)
        return value

    def _braced(self) -> str:
        if self._peek() in ("{", "}", ":"):
            raise self._error("syntax error: bad substitution", remedy="write ${NAME}")
        name = self._name()
        operator = self._next()
        if operator == "}":
            return self._value(name) or ""
        if operator == "":
            raise self._error("syntax error: missing '}'")
        if operator == ":":
            operator += self._next()
        if operator in (":-", ":+", ":?", "-", "+", "?"):
            return self._default(name, operator)
        if operator in ("#", "%"):
            return self._trimmed(name, operator)
        if operator == "/":
            return self._replaced(name)
        raise self._error(f"unsupported modifier ({operator}) in substitution", remedy=_OPERATORS)

    def _default(self, name: str, operator: str) -> str:
        word = self._until("}")
        value = self._value(name)
        is_missing = value is None or (operator[0] == ":" and not value)
        if operator[-1] == "+":
            return "" if is_missing else word
        if not is_missing:
            return value or ""
        if operator[-1] == "-":
            return word
        state = "unset" if value is None else "empty"
        raise DockerfileError(f"{name}: {word or f'is not allowed to be {state}'}", remedy=f"give {name} a value")

    def _trimmed(self, name: str, operator: str) -> str:
        greedy = self._peek() == operator
        self._at += greedy
        pattern = self._pattern(self._until("}", raw=True))
        value = self._value(name) or ""
        if operator == "#":
            match = re.match(_regex(pattern, greedy=greedy), value, re.DOTALL)
            return value[match.end() :] if match else value
        # the shortest or longest end is the shortest or longest beginning of the mirror image
        mirrored = value[::-1]
        match = re.match(_regex(pattern[::-1], greedy=greedy), mirrored, re.DOTALL)
        return mirrored[match.end() :][::-1] if match else value

    def _replaced(self, name: str) -> str:
        everywhere = self._peek() == "/"
        self._at += everywhere
        pattern = self._pattern(self._until("/", raw=True))
        replacement = self._until("}", raw=True)
        value = self._value(name) or ""
        return _substituted(re.compile(_regex(pattern, greedy=True), re.DOTALL), replacement, value, everywhere)

    def _pattern(self, text: str) -> list[str | None]:
        """Return a pattern's characters, None for `*` and "" for `?`; escapes are resolved."""
        tokens: list[str | None] = []
        index = 0
        while index < len(text):
            char = text[index]
            index += 1
            if char == "*":
                tokens.append(None)
            elif char == "?":
                tokens.append("")
            elif char != self._escape:
                tokens.append(char)
            elif text[index : index + 1] in ("*", "?", "}", "/", self._escape):
                tokens.append(text[index])
                index += 1
            else:
                escaped = char + text[index : index + 1]
                raise self._error(f"invalid pattern ({text}) in substitution: invalid escape '{escaped}'")
        return tokens

    def _error(self, message: str, remedy: str = "") -> DockerfileError:
        word = self._text if len(self._text) <= 200 else self._text[:200] + "…"
        return DockerfileError(
            f"{message} (in {word})",
            remedy=remedy or "close it, or put a backslash before characters that are meant literally",
        )


def _regex(pattern: list[str | None], *, greedy: bool) -> str:
    """Return the regular expression of a pattern, made so that it never goes back over what a `*` but the last has
    taken.

    That changes no result: the leftmost place for what stands between two stars is as good as any other.
    """
    parts: list[str] = [""]
    for token in pattern:
        if token is None:
            parts.append("")
        else:
            parts[-1] += re.escape(token) if token else "."
    first, *rest = parts
    if not rest:
        return first
    *middle, last = rest
    return first + "".join(f"(?>.*?{part})" for part in middle if part) + (".*" if greedy else ".*?") + last


def _substituted(expression: re.Pattern[str], replacement: str, value: str, everywhere: bool) -> str:
    """Replace the first or every match; as in Go, a match of nothing right after another match does not count."""
    out, end, last_match = "", 0, -1
    for match in expression.finditer(value):
        if match.start() == match.end() == last_match:
            continue
        out += value[end : match.start()] + replacement
        end = last_match = match.end()
        if not everywhere:
            break
    return out + value[end:]
