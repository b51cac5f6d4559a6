"""Members of a mapping by kind, with the line in every complaint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tiffin.builder.compose.merging import text_of
from tiffin.builder.compose.places import Map, Place, Seq, wrong
from tiffin.builder.dockerfile.durations import parse_duration
from tiffin.builder.errors import TiffinError
from tiffin.builder.options import size_bytes, switch

NANOSECONDS = 10**9


class Members:
    """The members of one mapping; `where` is its path, as messages have it."""

    def __init__(self, document: Map, where: str) -> None:
        self.document = document
        self.where = where

    def has(self, key: str) -> bool:
        """Whether something stands there."""
        return self.document.get(key) is not None

    def place(self, key: str) -> Place:
        """Return where it stands."""
        return self.document.place(key)

    def wrong(self, key: str, message: str, *, remedy: str = "correct it") -> TiffinError:
        """Return an error about a member."""
        return wrong(f"{self.where}.{key}: {message}", self.place(key), remedy=remedy)

    def text(self, key: str) -> str:
        """Return a text, "" where there is none."""
        return text_of(self.document.get(key))

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts."""
        return tuple(text_of(item) for item in self.document.get(key) or ())

    def maybe_texts(self, key: str) -> tuple[str, ...] | None:
        """Return a list of texts, None where there is none."""
        return self.texts(key) if self.has(key) else None

    def mapping(self, key: str) -> dict[str, str]:
        """Return a mapping of texts."""
        return {name: text_of(value) for name, value in (self.document.get(key) or {}).items()}

    def maybe_mapping(self, key: str) -> dict[str, str | None]:
        """Return a mapping of texts and of names alone."""
        items = (self.document.get(key) or {}).items()
        return {name: None if value is None else text_of(value) for name, value in items}

    def switch(self, key: str, default: bool = False) -> bool:
        """Return true or false. Raises ComposeError."""
        value = self.document.get(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        return bool(self._parsed(key, switch, "neither true nor false"))

    def number(self, key: str, default: int = 0) -> int:
        """Return a whole number. Raises ComposeError."""
        return self._parsed(key, int, "not a whole number") if self.has(key) else default

    def decimal(self, key: str) -> float:
        """Return a number, 0 where there is none. Raises ComposeError."""
        return self._parsed(key, float, "not a number") if self.has(key) else 0.0

    def size(self, key: str) -> int:
        """Return bytes, 0 where there are none. Raises ComposeError."""
        return self._parsed(key, size_bytes, "not a valid size") if self.has(key) else 0

    def mode(self, key: str) -> int | None:
        """Return the mode of a file: octal where it is a text. Raises ComposeError."""
        value = self.document.get(key)
        if value is None or isinstance(value, int):
            return value
        return int(self._parsed(key, lambda text: int(text, 8), "not an octal mode"))

    def seconds(self, key: str) -> float | None:
        """Return a duration, None where there is none. Raises ComposeError."""
        if not self.has(key):
            return None
        try:
            return parse_duration(self.text(key)) / NANOSECONDS
        except TiffinError as exc:
            raise self.wrong(key, exc.message, remedy=exc.remedy) from exc

    def inner(self, key: str) -> Members:
        """Return the members of a mapping below, of an empty one where there is none."""
        value = self.document.get(key)
        return Members(value if isinstance(value, Map) else Map(), f"{self.where}.{key}")

    def items(self, key: str) -> Iterator[tuple[Members, Place]]:
        """Yield the mappings of a list."""
        value = self.document.get(key)
        entries = value.entries() if isinstance(value, Seq) else ()
        for number, (item, place) in enumerate(entries):
            yield Members(item if isinstance(item, Map) else Map(), f"{self.where}.{key}[{number}]"), place

    def _parsed(self, key: str, parse: Callable[[str], Any], otherwise: str) -> Any:
        text = self.text(key)
        try:
            return parse(text)
        except ValueError as exc:
            raise self.wrong(key, f'"{text}" is {otherwise}') from exc
