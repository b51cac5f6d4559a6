"""--annotation [TYPE[[PLATFORM]],…:]KEY=VALUE, as buildx reads it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tiffin.builder.dockerfile.suggest import did_you_mean
from tiffin.builder.errors import UsageError
from tiffin.builder.oci.spec import Platform
from tiffin.builder.settings.texts import need_text
from tiffin.cache.foundation.frozen import dataclass

TYPES = ("manifest", "index", "manifest-descriptor", "index-descriptor")
_TYPE = r"[a-z-]+(?:\[[^\]]*\])?"
_PREFIX = rf"(?s)({_TYPE}(?:,{_TYPE})*):(.*)"
_ONE = r"([a-z-]+)(?:\[([^\]]*)\])?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One annotation of documents of one kind; `platform` None is every platform."""

    kind: str
    platform: Platform | None
    key: str
    value: str


class Annotations:
    """All annotations of a command."""

    def __init__(self, found: Sequence[Annotation]) -> None:
        self._found = tuple(found)

    @classmethod
    def parse(cls, texts: Sequence[str], *, untyped: str = "manifest") -> Annotations:
        """Read TYPE:KEY=VALUE, where `untyped` is the type of what has none. Raises UsageError."""
        found: list[Annotation] = []
        for text in need_text(texts, "--annotation"):
            before = text.partition("=")[0]
            match = re.fullmatch(_PREFIX, before)
            kinds = match[1] if match else before.partition(":")[0] if ":" in before else untyped
            pair = text[len(kinds) + 1 :] if ":" in before else text
            key, equals, value = pair.partition("=")
            if not key or not equals:
                raise UsageError(f'--annotation "{text}" is not KEY=VALUE', remedy="write --annotation KEY=VALUE")
            for kind in re.split(r",(?![^\[]*\])", kinds):
                found.append(_annotation(kind, key, value, text))
        return cls(found)

    def of(self, kind: str, platform: Platform | None = None) -> dict[str, str]:
        """Return the annotations of the documents of a kind, for one platform."""
        return {
            item.key: item.value
            for item in self._found
            if item.kind == kind and (item.platform is None or item.platform == platform)
        }

    def need_index(self) -> bool:
        """Whether one of them belongs to an index."""
        return any(item.kind in ("index", "index-descriptor", "manifest-descriptor") for item in self._found)


def _annotation(kind: str, key: str, value: str, text: str) -> Annotation:
    match = re.fullmatch(_ONE, kind)
    name, platform = (match[1], match[2]) if match else (kind, None)
    if name not in TYPES:
        raise UsageError(
            f'--annotation "{text}": unknown type "{name}"',
            remedy=did_you_mean(name, TYPES) or f"use {', '.join(TYPES)}",
        )
    return Annotation(kind=name, platform=Platform.parse(platform) if platform else None, key=key, value=value)
