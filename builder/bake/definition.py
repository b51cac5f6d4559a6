"""Targets and groups as values: one over another, and as the document that --print shows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tiffin.builder.bake.entries import merged_by, unique_entries
from tiffin.builder.bake.fields import (
    ANNOTATIONS,
    ATTEST,
    CACHE_FROM,
    CACHE_TO,
    CONTEXTS,
    DESCRIPTION,
    ENTITLEMENTS,
    FIELDS,
    INHERITS,
    NETWORK,
    NO_CACHE_FILTER,
    OUTPUT,
    PLATFORMS,
    SECRET,
    SSH,
    TAGS,
    ULIMITS,
)
from tiffin.cache.foundation.frozen import dataclass, field, replace

DEFAULT = "default"
NETWORK_HOST = "network.host"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A target. `values` are those of its attributes, as fields.FIELDS reads them; `is_linked`: only other targets
    need it. `directory`: where a context that is not named is, as files relative to theirs have it.
    """

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    is_linked: bool = False
    directory: str | None = None

    def get(self, name: str) -> Any:
        """Return the value of an attribute, None where it has none."""
        return self.values.get(name)

    def having(self, **values: Any) -> Target:
        """Return it with other values; _ stands for - in their names."""
        return replace(self, values={**self.values, **{name.replace("_", "-"): values[name] for name in values}})

    def under(self, above: Target) -> Target:
        """Return this with what another says on top."""
        values = dict(self.values)
        for name, value in above.values.items():
            merge = FIELDS[name].merge
            empty: Any = {} if isinstance(value, dict) else []
            values[name] = merge(values.get(name, empty), value)
        directory = above.directory if above.directory is not None else self.directory
        return replace(self, values=values, directory=directory)

    def normal(self) -> Target:
        """Return it without what is empty or there twice."""
        values = dict(self.values)
        for name in (ANNOTATIONS, TAGS, PLATFORMS, NO_CACHE_FILTER, ULIMITS):
            if name in values:
                values[name] = unique(values[name])
        for name in (CACHE_FROM, CACHE_TO, OUTPUT):
            if name in values:
                values[name] = unique_entries(values[name])
        for name, key in ((ATTEST, "type"), (SECRET, "id"), (SSH, "id")):
            if name in values:
                values[name] = merged_by(key)((), values[name])
        if CONTEXTS in values:
            values[CONTEXTS] = {name: place for name, place in values[CONTEXTS].items() if place}
        rights = [*values.get(ENTITLEMENTS, ()), *([NETWORK_HOST] if values.get(NETWORK) == "host" else ())]
        if rights:
            values[ENTITLEMENTS] = unique(rights)
        return replace(self, values=values)

    def document(self) -> dict[str, Any]:
        """Return it as --print shows it."""
        shown: dict[str, Any] = {}
        for item in FIELDS.values():
            value = self.values.get(item.name)
            if value is None or value in ([], {}) or item.name == INHERITS or (item.name == DESCRIPTION and not value):
                continue
            shown[item.name] = _sorted(_escaped(value) if item.escapes else value)
        return shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Names of targets and groups."""

    name: str
    targets: Sequence[str]
    description: str = ""

    def document(self) -> dict[str, Any]:
        """Return it as --print shows it."""
        shown: dict[str, Any] = {"description": self.description} if self.description else {}
        return {**shown, "targets": list(self.targets)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable as --list=variables shows it; `value` None is null."""

    name: str
    kind: str = ""
    value: str | None = None
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What all files say: targets and groups in their order, and the variables."""

    targets: Mapping[str, Target] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    variables: Sequence[Variable] = ()


def unique(texts: Iterable[str]) -> list[str]:
    """Return texts, each once, without empty ones."""
    return [text for text in dict.fromkeys(texts) if text]


def printed(targets: Mapping[str, Target], groups: Mapping[str, Group]) -> str:
    """Return the document of --print."""
    document: dict[str, Any] = {}
    if groups:
        document["group"] = {name: groups[name].document() for name in sorted(groups)}
    document["target"] = {name: targets[name].document() for name in sorted(targets)}
    text = json.dumps(document, indent=2, ensure_ascii=False)
    for letter in "<>&\u2028\u2029":  # as Go writes them
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: value[key] for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _escaped(value: Any) -> Any:
    match value:
        case str():
            return value.replace("${", "$${").replace("%{", "%%{")
        case list():
            return [_escaped(item) for item in value]
        case dict():
            return {key: _escaped(item) for key, item in value.items()}
    return value
