"""What a YAML file holds, each value with the line it stands on: mappings, lists, and places in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tiffin.builder.errors import ComposeError, Span

Path = tuple[str, ...]  # of keys from the top; "[]" is an item of a list
ITEM = "[]"
ANY = "*"


class Place:
    """A line of a file."""

    __slots__ = ("file", "line")

    def __init__(self, file: str, line: int) -> None:
        self.file = file
        self.line = line

    def span(self) -> Span:
        """Return it as errors have it."""
        return Span(file=self.file, first_line=self.line, last_line=self.line)


NOWHERE = Place("", 0)


class Map(dict[str, Any]):
    """A mapping that knows where each key stands."""

    __slots__ = ("places",)

    def __init__(self, items: Iterable[tuple[str, Any, Place]] = ()) -> None:
        super().__init__()
        self.places: dict[str, Place] = {}
        for key, value, place in items:
            self.put(key, value, place)

    def put(self, key: str, value: Any, place: Place) -> None:
        """Set a value that stands somewhere."""
        self[key] = value
        self.places[key] = place

    def place(self, key: str) -> Place:
        """Return where a key stands."""
        return self.places.get(key, NOWHERE)

    def entries(self) -> Iterator[tuple[str, Any, Place]]:
        """Yield keys, values and places."""
        for key, value in self.items():
            yield key, value, self.place(key)


class Seq(list[Any]):
    """A list that knows where each item stands."""

    __slots__ = ("places",)

    def __init__(self, items: Iterable[tuple[Any, Place]] = ()) -> None:
        pairs = list(items)
        super().__init__(value for value, _ in pairs)
        self.places = [place for _, place in pairs]

    def entries(self) -> Iterator[tuple[Any, Place]]:
        """Yield items and places."""
        return zip(self, self.places, strict=True)


class Reset:
    """A value `!reset`: what stood there before is taken away."""


class Override:
    """A value `!override`: what stood there before is replaced, not merged."""

    def __init__(self, value: Any) -> None:
        self.value = value


def matches(path: Path, pattern: str) -> bool:
    """Whether a path is one of a pattern, in which `*` stands for any key or item."""
    parts = pattern.split(".")
    return len(parts) == len(path) and all(part in (ANY, key) for part, key in zip(parts, path, strict=True))


def path_text(path: Iterable[str]) -> str:
    """Return a path as messages have it."""
    return ".".join(path).replace(f".{ITEM}", ITEM)


def copied(value: Any) -> Any:
    """Return a copy, places too."""
    if isinstance(value, Map):
        return Map((key, copied(item), place) for key, item, place in value.entries())
    if isinstance(value, Seq):
        return Seq((copied(item), place) for item, place in value.entries())
    return Override(copied(value.value)) if isinstance(value, Override) else value


def settled(value: Any) -> Any:
    """Return a value without the marks of `!reset` and `!override`, where nothing is left to merge."""
    if isinstance(value, Override):
        return settled(value.value)
    if isinstance(value, Map):
        kept = ((key, item, place) for key, item, place in value.entries() if not isinstance(item, Reset))
        return Map((key, settled(item), place) for key, item, place in kept)
    if isinstance(value, Seq):
        return Seq((settled(item), place) for item, place in value.entries() if not isinstance(item, Reset))
    return value


def wrong(message: str, place: Place | None, *, remedy: str = "") -> ComposeError:
    """Return an error about a place."""
    span = place.span() if place is not None and place.file else None
    return ComposeError(message, span=span, remedy=remedy)
