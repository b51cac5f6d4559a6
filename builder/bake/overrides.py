"""--set: what a command line says above the files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from tiffin.builder.bake.definition import Target
from tiffin.builder.bake.entries import Entry, attest_entry, cache_entries, export_entry, secret_entry, ssh_entry
from tiffin.builder.bake.fields import FIELDS, policy_entry, resource
from tiffin.builder.bake.hcl.faults import ExpressionError
from tiffin.builder.dockerfile.suggest import did_you_mean
from tiffin.builder.errors import UsageError
from tiffin.builder.options import truth
from tiffin.cache.foundation.frozen import dataclass, replace

TEXTS = ("context", "dockerfile", "target", "call", "shm-size", "network")
SWITCHES = ("no-cache", "pull", "push", "load")
NAMED = ("args", "contexts", "labels", "extra-hosts", "resources", "secret")  # KEY.NAME=VALUE
LISTS: Mapping[str, tuple[str, Callable[[str], Any] | None]] = {  # the attribute, and what reads an item of it
    "tags": ("tags", None),
    "platform": ("platforms", None),
    "no-cache-filter": ("no-cache-filter", None),
    "ulimits": ("ulimits", None),
    "entitlements": ("entitlements", None),
    "annotations": ("annotations", None),
    "cache-from": ("cache-from", cache_entries),
    "cache-to": ("cache-to", cache_entries),
    "output": ("output", export_entry),
    "secrets": ("secret", secret_entry),
    "ssh": ("ssh", ssh_entry),
    "attest": ("attest", attest_entry),
    "policy": ("policy", policy_entry),
}
ALWAYS_ADDED = ("entitlements", "annotations", "attest")
BUILD_RIGHTS = ("network.host", "security.insecure")
WILD = "*?["


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """PATTERN.KEY[.NAME][+]=VALUE…; several of one list are one."""

    pattern: str
    key: str
    name: str
    values: tuple[str, ...]
    adds: bool
    text: str  # as it was written

    def grants(self) -> Iterator[str]:
        """Yield the paths and the rights that the values name, as --allow has them."""
        if self.key == "entitlements":
            yield from (value for value in self.values if value in BUILD_RIGHTS)
        for value in filter(None, self.values):
            match self.key:
                case "output":
                    yield from (f"fs.write={path}" for path in _paths([export_entry(value)], "dest"))
                case "cache-to":
                    yield from (f"fs.write={path}" for path in _paths(_local(value), "dest"))
                case "cache-from":
                    yield from (f"fs.read={path}" for path in _paths(_local(value), "src"))
                case "secret" | "secrets":
                    yield from (f"fs.read={path}" for path in _paths([secret_entry(value)], "src"))
                case "ssh":
                    yield from (f"fs.read={path}" for path in ssh_entry(value).get("paths", ()))

    def apply(self, target: Target) -> Target:
        """Return a target with this above what the files say. Raises UsageError."""
        try:
            return self._applied(target)
        except ExpressionError as exc:
            raise UsageError(f"--set {self.text}: {exc.message}", remedy=exc.remedy) from exc

    def _applied(self, target: Target) -> Target:
        last = self.values[-1]
        if self.key in TEXTS:
            return _with(target, self.key, last)
        if self.key in SWITCHES:
            return _switched(target, self.key, _truth(self.key, last))
        if self.key == "secret":
            return _with(target, "secret", _other_secret(target, self.name, secret_entry(last)))
        if self.key in NAMED:
            value: Any = resource(self.name, last) if self.key == "resources" else last
            return _with(target, self.key, {**(target.get(self.key) or {}), self.name: value})
        attribute, read = LISTS[self.key]
        items: list[Any] = [read(value) if read else value for value in self.values if value or not read]
        if read is cache_entries:
            items = [entry for entries in items for entry in entries]
        if self.adds or self.key in ALWAYS_ADDED:
            merge = FIELDS[attribute].merge
            base = target.get(attribute) or []
            items = merge(base, items) if self.key in ("secrets", "ssh", "attest") else [*base, *items]
        return _with(target, attribute, items)


def read_overrides(
    texts: Sequence[str], look_up: Callable[[str], str | None], names: Sequence[str]
) -> dict[str, list[Override]]:
    """Return what is set, by the names of targets. Raises UsageError."""
    found: dict[str, dict[tuple[str, str], Override]] = {}
    for text in texts:
        override = _read(text, look_up)
        if override is None:
            continue
        for name in matching(override.pattern, names):
            known = found.setdefault(name, {})
            before = known.pop((override.key, override.name), None)
            if before is not None and override.key in LISTS:
                override_here = replace(override, values=(*before.values, *override.values))
            else:
                override_here = override
            known[override.key, override.name] = override_here
    return {name: sorted(known.values(), key=_is_last) for name, known in found.items()}


def granted_by(overrides: Mapping[str, Sequence[Override]]) -> list[str]:
    """Return what --allow would have to grant for what is set: whoever sets a path means it."""
    return list(dict.fromkeys(text for every in overrides.values() for one in every for text in one.grants()))


def matching(pattern: str, names: Sequence[str]) -> list[str]:
    """Return the names that a pattern means. Raises UsageError."""
    if pattern in names:
        return [pattern]
    matched = [name for name in names if fnmatchcase(name, pattern)]
    if not matched:
        raise UsageError(
            f"could not find any target matching '{pattern}'",
            remedy=did_you_mean(pattern, names) or f"there are {', '.join(sorted(names)) or 'none'}",
        )
    return matched


def _paths(entries: Sequence[Entry], key: str) -> list[str]:
    return [entry[key] for entry in entries if entry.get(key)]


def _local(value: str) -> list[Entry]:
    return [entry for entry in cache_entries(value) if entry["type"] == "local"]


def _is_last(override: Override) -> int:
    """Return what sorts overrides: push and load change the outputs that others set."""
    return ("push", "load").index(override.key) + 1 if override.key in ("push", "load") else 0


def _read(text: str, look_up: Callable[[str], str | None]) -> Override | None:
    """Return what one text says; None for args.NAME whose variable is not set."""
    left, equals, value = text.partition("=")
    adds = left.endswith("+")
    keys = left.removesuffix("+").split(".", 2)
    if len(keys) < 2:
        raise UsageError(f"invalid override key {left}, expected target.name", remedy="write --set TARGET.KEY=VALUE")
    pattern, key = keys[0], keys[1]
    name = keys[2] if len(keys) > 2 else ""
    known = (*TEXTS, *SWITCHES, *NAMED, *LISTS)
    if key not in known:
        hint = did_you_mean(key, known) or f"use {', '.join(known)}"
        raise UsageError(f"--set {text}: unknown key: {key}", remedy=hint)
    if key in NAMED and not name:
        raise UsageError(f"invalid key {left}, {key} requires name", remedy=f"write --set {pattern}.{key}.NAME=VALUE")
    if adds and key in ("resources", "secret"):
        raise UsageError(f"invalid key {left}, {key} does not support append", remedy="write = for +=")
    if not equals and key == "args":
        found = look_up(name)
        if found is None:
            return None
        value = found
    elif not equals:
        raise UsageError(f"invalid override {text}, expected target.name=value", remedy=f"write --set {left}=VALUE")
    return Override(pattern=pattern, key=key, name=name, values=(value,), adds=adds, text=text)


def _with(target: Target, attribute: str, value: Any) -> Target:
    return replace(target, values={**target.values, attribute: value})


def _truth(key: str, value: str) -> bool:
    found = truth(value)
    if found is None:
        raise ExpressionError(f"invalid value {value} for boolean key {key}", remedy="write true or false")
    return found


def _switched(target: Target, key: str, is_on: bool) -> Target:
    match key:
        case "push":
            return _with(target, "output", pushed(target.get("output") or [], is_on=is_on))
        case "load":
            return _with(target, "output", loaded(target.get("output") or [])) if is_on else target
    return _with(target, key, is_on)


def pushed(outputs: Sequence[Entry], *, is_on: bool) -> list[Entry]:
    """Return outputs of which those of images are pushed, or none is."""
    if not is_on:
        return [
            {**entry, "push": "false"} if entry["type"] == "image" else entry
            for entry in outputs
            if entry["type"] != "registry"
        ]
    made = [{**entry, "push": "true"} if entry["type"] == "image" else entry for entry in outputs]
    return made if any(entry["type"] != "docker" for entry in made) else [*made, {"type": "image", "push": "true"}]


def loaded(outputs: Sequence[Entry]) -> list[Entry]:
    """Return outputs of which one is an image that is here."""
    for entry in outputs:
        if entry["type"] == "docker" and not entry.get("dest"):
            return list(outputs)
        if entry["type"] not in ("docker", "image", "registry", "oci"):
            return list(outputs)
    return [*outputs, {"type": "docker"}]


def _other_secret(target: Target, name: str, wanted: Entry) -> list[Entry]:
    secrets: list[Entry] = target.get("secret") or []
    if all(entry.get("id") != name for entry in secrets):
        raise ExpressionError(
            f'secret "{name}" must be declared before it can be overridden', remedy="use --set TARGET.secrets=…"
        )
    if wanted.get("id", name) != name:
        raise ExpressionError(f'secret override id "{wanted["id"]}" does not match declared secret "{name}"')
    return [{**wanted, "id": name} if entry.get("id") == name else entry for entry in secrets]
