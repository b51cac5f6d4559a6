"""One advisory in the format of OSV (ossf.github.io/osv-schema)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tiffin.builder.advisories.severity import Severity, severity_of
from tiffin.cache.foundation.frozen import dataclass

INTRODUCED, FIXED, LAST_AFFECTED, LIMIT = "introduced", "fixed", "last_affected", "limit"
_EVENTS = (INTRODUCED, FIXED, LAST_AFFECTED, LIMIT)
_BY_COMMIT = "GIT"  # ranges of commits, which no package tells


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """A package that an advisory is about. `ranges` have events (kind and version); `versions` are named one by one."""

    ecosystem: str
    name: str
    ranges: tuple[tuple[tuple[str, str], ...], ...]
    versions: frozenset[str]
    severity: Severity

    def fixes(self) -> tuple[str, ...]:
        """Return the versions in which it is fixed."""
        return tuple(dict.fromkeys(text for events in self.ranges for kind, text in events if kind == FIXED))


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """An advisory. `aliases` are its other names, a CVE's among them."""

    id: str
    aliases: tuple[str, ...]
    summary: str
    affected: tuple[Affected, ...]

    @classmethod
    def decode(cls, document: Mapping[str, Any]) -> Advisory | None:
        """Read an advisory; None for one that was withdrawn. Raises ValueError, TypeError, LookupError."""
        if document.get("withdrawn"):
            return None
        name = str(document["id"])
        return cls(
            id=name,
            aliases=tuple(str(text) for key in ("aliases", "upstream") for text in document.get(key) or ()),
            summary=str(document.get("summary") or str(document.get("details") or "").strip().partition("\n")[0]),
            affected=tuple(_affected(row, document) for row in document.get("affected") or () if "package" in row),
        )


def _affected(row: Mapping[str, Any], document: Mapping[str, Any]) -> Affected:
    package = row["package"]
    ranges = [
        tuple((kind, str(event[kind])) for event in item["events"] for kind in _EVENTS if kind in event)
        for item in row.get("ranges") or ()
        if item.get("type") != _BY_COMMIT
    ]
    told: Sequence[Mapping[str, Any]] = row.get("severity") or document.get("severity") or ()
    words = [
        str(place.get(key))
        for place in (row.get("ecosystem_specific") or {}, row.get("database_specific") or {})
        for key in ("severity", "urgency")
        if place.get(key)
    ]
    general = (document.get("database_specific") or {}).get("severity")
    return Affected(
        ecosystem=str(package["ecosystem"]),
        name=str(package["name"]),
        ranges=tuple(ranges),
        versions=frozenset(map(str, row.get("versions") or ())),
        severity=severity_of(
            [(str(item["type"]), str(item["score"])) for item in told], [*words, *([str(general)] if general else [])]
        ),
    )


def decoded(data: bytes) -> list[Mapping[str, Any]]:
    """Return the advisories in a JSON text: one, a list, or OSV's answer with `vulns`. Raises ValueError."""
    document = json.loads(data)
    if isinstance(document, dict):
        document = document["vulns"] if isinstance(document.get("vulns"), list) else [document]
    if not isinstance(document, list) or not all(isinstance(item, dict) for item in document):
        raise ValueError("it holds no advisories")
    return document
