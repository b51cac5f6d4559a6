"""What files of a layer tell of software: the values that catalogers make and that are kept beside a layer's table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tiffin.cache.foundation.frozen import asdict, dataclass

SCHEMA = 4  # of what is kept; raise it when catalogers tell more, or otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package as its package manager names it. `type` is that of package URLs; `licence` an SPDX expression.

    `source` and `source_version`: what it was built from, where that has another name or version.
    """

    type: str
    name: str
    version: str
    namespace: str = ""
    architecture: str = ""
    licence: str = ""
    source: str = ""
    source_version: str = ""
    supplier: str = ""
    homepage: str = ""
    qualifiers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedFiles:
    """Files that a package of the system brought, of those that tell of other packages."""

    package: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenceNote:
    """The licence of a package of the system, told in a file of its own."""

    package: str
    licence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The distribution, as os-release tells it."""

    id: str
    version: str
    name: str
    codename: str = ""
    cpe: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A file that tells of packages and was not read, and why."""

    reason: str


Fact = Package | OwnedFiles | LicenceNote | Release | Unread
_NAMES: Mapping[str, type[Fact]] = {
    "package": Package,
    "owned": OwnedFiles,
    "licence": LicenceNote,
    "release": Release,
    "unread": Unread,
}
_NAME_OF = {kind: name for name, kind in _NAMES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRecord:
    """What is told by the files of one layer, by path."""

    facts: Mapping[str, Sequence[Fact]]

    def encode(self) -> bytes:
        files = {path: [_row(fact) for fact in facts] for path, facts in sorted(self.facts.items())}
        return json.dumps({"schema": SCHEMA, "files": files}, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> LayerRecord | None:
        """Read what `encode` wrote; None for another schema, or for what is damaged: it is made anew."""
        try:
            document = json.loads(data)
            if document["schema"] != SCHEMA:
                return None
            return cls(facts={path: [_fact(row) for row in rows] for path, rows in document["files"].items()})
        except (ValueError, TypeError, LookupError, AttributeError):
            return None


def _row(fact: Fact) -> list[object]:
    return [_NAME_OF[type(fact)], {name: value for name, value in asdict(fact).items() if value}]


def _fact(row: Sequence[object]) -> Fact:
    name, members = row
    assert isinstance(name, str) and isinstance(members, dict)
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in members.items()}
    if "qualifiers" in values:
        values["qualifiers"] = tuple((key, text) for key, text in values["qualifiers"])
    return _NAMES[name](**{"name": "", "version": "", **values} if name in ("package", "release") else values)
