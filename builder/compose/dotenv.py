"""Files of variables as compose reads them: .env, and env_file of services."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from tiffin.builder.compose.places import Place, wrong
from tiffin.builder.compose.variables import Substitution

_EXPORT = re.compile(r"export\s+")
_KEY = re.compile(r"([\w.\-\[\]]+)[^\S\n]*([=:]|\n|$)")
_ESCAPE = re.compile(r'\\([abcfnrtv$"\\]|0\d{0,3})')
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", '"': '"', "\\": "\\"}
RAW = "raw"  # a format of env_file: as docker run --env-file reads it


def read_env_file(
    path: Path, known: Mapping[str, str], warn: Callable[[str], None] = lambda _: None, *, form: str = ""
) -> dict[str, str]:
    """Return the variables of a file; values may refer to `known` ones and to earlier ones. Raises ComposeError."""
    try:
        text = path.read_bytes().decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except OSError as exc:
        raise wrong(f"cannot read env file {path}: {exc.strerror}", None, remedy="name a readable file") from exc
    except UnicodeDecodeError as exc:
        raise wrong(f"env file {path} is not UTF-8", None, remedy="convert it") from exc
    return _raw(text, known) if form == RAW else _Parser(text, str(path), known, warn).read()


def _raw(text: str, known: Mapping[str, str]) -> dict[str, str]:
    result = {}
    for line in text.split("\n"):
        line = line.lstrip()
        name, equals, value = line.partition("=")
        if not line or line.startswith("#"):
            continue
        if equals or name in known:
            result[name] = value if equals else known[name]
    return result


class _Parser:
    """Reads one text."""

    def __init__(self, text: str, file: str, known: Mapping[str, str], warn: Callable[[str], None]) -> None:
        self._text = text
        self._file = file
        self._known = known
        self._warn = warn
        self._position = 0
        self._result: dict[str, str] = {}

    def read(self) -> dict[str, str]:
        """Return all variables."""
        while self._skip_to_statement():
            self._statement()
        return self._result

    def _skip_to_statement(self) -> bool:
        """Go behind blanks and comments; False at the end."""
        text = self._text
        while self._position < len(text):
            if text[self._position].isspace():
                self._position += 1
            elif text[self._position] == "#":
                self._position = _line_end(text, self._position)
            else:
                return True
        return False

    def _statement(self) -> None:
        if found := _EXPORT.match(self._text, self._position):
            self._position = found.end()
        found = _KEY.match(self._text, self._position)
        if found is None:
            line = self._text[self._position : _line_end(self._text, self._position)]
            raise self._wrong(f'"{line}" does not begin with the name of a variable')
        self._position = found.end()
        name = found[1]
        if found[2] in ("=", ":"):
            self._result[name] = self._value()
        elif name in self._known:
            self._result[name] = self._known[name]

    def _value(self) -> str:
        text = self._text
        while self._position < len(text) and text[self._position] in " \t":
            self._position += 1
        quote = text[self._position : self._position + 1]
        if quote in ("'", '"') and quote:
            return self._quoted(quote)
        end = _line_end(text, self._position)
        value = text[self._position : end].partition(" #")[0].rstrip()
        if value.startswith("#"):
            value = ""
        self._position = end
        return self._filled(value)

    def _quoted(self, quote: str) -> str:
        pieces: list[str] = []
        position = self._position + 1
        while (character := self._text[position : position + 1]) != quote:
            if not character:
                raise self._wrong("a quoted value has no end")
            if character == "\\" and self._text[position + 1 : position + 2] == quote:
                character, position = quote, position + 1
            elif character == "\\":
                character = self._text[position : position + 2]
                position += 1
            pieces.append(character)
            position += 1
        self._position = position + 1
        value = "".join(pieces)
        return self._filled(_ESCAPE.sub(_unescaped, value)) if quote == '"' else value

    def _filled(self, value: str) -> str:
        try:
            return Substitution({**self._result, **self._known}, self._warn).fill(value)
        except ValueError as exc:
            raise self._wrong(str(exc)) from exc

    def _wrong(self, message: str) -> Exception:
        line = self._text.count("\n", 0, self._position) + 1
        return wrong(message, Place(self._file, line), remedy="write NAME=VALUE")


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _unescaped(match: re.Match[str]) -> str:
    letter = match[1]
    if letter == "$":
        return "$$"  # no variable begins there
    if letter[0] == "0":
        return chr(int(letter, 8)) if len(letter) == 4 else match[0]
    return _ESCAPES.get(letter, match[0])
