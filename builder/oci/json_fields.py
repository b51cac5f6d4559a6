"""Typed getters for decoded JSON: each failure names the path (`layers[2].digest`); and the one canonical encoder.

Nothing past this module handles `Any`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tiffin.builder.errors import ImageError
from tiffin.cache.foundation import json_text

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]


class Fields:
    """A decoded JSON object, its path in the document, and typed access to its members."""

    __slots__ = ("_members", "path")

    def __init__(self, members: Mapping[str, JSON], path: str = "") -> None:
        self._members = members
        self.path = path

    @classmethod
    def decode(cls, data: bytes, what: str) -> Fields:
        """Decode `data`, which must be one JSON object; raises ImageError naming `what`."""
        try:
            text = data.decode()
            value = json_text.loads(text)
            if "\\u" in text:  # half a surrogate pair is not a character: such text could not be written again
                json_text.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as exc:
            reason = "nested too deeply" if isinstance(exc, RecursionError) else str(exc)
            raise ImageError(f"{what} is not JSON: {reason}", remedy="the source is damaged or no image") from exc
        if not isinstance(value, dict):
            raise ImageError(f"{what} is not a JSON object", remedy="the source is damaged or no image")
        return cls(value, what)

    def wrong(self, name: str, expected: str) -> ImageError:
        """Return an error about the member `name`."""
        return ImageError(f"{self.path}.{name}: expected {expected}", remedy="the document breaks its specification")

    def has(self, name: str) -> bool:
        return self._members.get(name) is not None

    def text(self, name: str, default: str | None = None) -> str:
        value = self._members.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise self.wrong(name, "text")
        return value

    def integer(self, name: str, default: int | None = None) -> int:
        value = self._members.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong(name, "an integer")
        return value

    def flag(self, name: str) -> bool:
        value = self._members.get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return an array of text; absent or null is empty."""
        value = self._members.get(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(name, "an array of text")
        return tuple(str(item) for item in value)

    def text_map(self, name: str) -> dict[str, str]:
        """Return an object of text values; absent or null is empty."""
        value = self._members.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise self.wrong(name, "an object of text")
        return {key: str(item) for key, item in value.items()}

    def keys_of(self, name: str) -> tuple[str, ...]:
        """Return the keys of an object used as a set (ExposedPorts, Volumes); absent or null is empty."""
        value = self._members.get(name)
        if value is None:
            return ()
        if not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return tuple(value)

    def items(self, name: str) -> list[JSON]:
        """Return an array as it is; absent or null is empty."""
        value = self._members.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.wrong(name, "an array")
        return value

    @property
    def members(self) -> Mapping[str, JSON]:
        """Return the object as it is."""
        return self._members

    def child(self, name: str) -> Fields:
        value = self._members.get(name)
        if not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return Fields(value, f"{self.path}.{name}")

    def children(self, name: str) -> Iterator[Fields]:
        """Yield the objects of an array; absent or null is empty."""
        value = self._members.get(name)
        if value is None:
            return
        if not isinstance(value, list):
            raise self.wrong(name, "an array")
        for number, item in enumerate(value):
            if not isinstance(item, dict):
                raise self.wrong(f"{name}[{number}]", "an object")
            yield Fields(item, f"{self.path}.{name}[{number}]")


def canonical(value: Mapping[str, object]) -> bytes:
    """Encode as tiffin writes every document: sorted keys, no spaces, UTF-8."""
    return json_text.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
