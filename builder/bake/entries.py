"""Caches, outputs, secrets, ssh agents and attestations: the texts and the objects that files give, as objects."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tiffin.builder.bake.hcl.faults import ExpressionError
from tiffin.builder.bake.hcl.values import Value, as_text, kind_of
from tiffin.builder.options import truth

Entry = dict[str, Any]


def cache_entries(value: Value) -> list[Entry]:
    """Return the caches of one item: a name, several with commas between, type=…, or an object."""
    if isinstance(value, str):
        if "=" not in value:
            return [{"type": "registry", "ref": name} for name in split_csv(value)]
        return [_typed(_pairs(value, lower=True), value)]
    return [_typed(_texts(value), value)]


def export_entry(value: Value) -> Entry:
    """Return an output."""
    if not isinstance(value, str):
        return _typed({key: item for key, item in _texts(value).items() if key != "dest" or item}, value)
    if value == "-":
        return {"type": "tar", "dest": value}
    if split_csv(value) == [value] and not value.startswith("type="):
        return {"type": "local", "dest": value}
    return _typed(_pairs(value, lower=True), value)


def secret_entry(value: Value) -> Entry:
    """Return a secret: id, src and env, each only where it is given."""
    if not isinstance(value, str):
        found = _texts(value)
        _refuse_others(found, ("id", "src", "env"), "secret")
        return {key: item for key, item in found.items() if item}
    found = _pairs(value, lower=True)
    if "source" in found:
        found["src"] = found.pop("source")
    kind = found.pop("type", "")
    if kind not in ("", "file", "env"):
        raise ExpressionError(f'there are no secrets of type "{kind}"', remedy="use type=file or type=env")
    _refuse_others(found, ("id", "src", "env"), "secret")
    if kind == "env" and not found.get("env") and "src" in found:
        found["env"] = found.pop("src")
    return {key: found[key] for key in ("id", "src", "env") if found.get(key)}


def ssh_entry(value: Value) -> Entry:
    """Return an ssh agent: an id, and paths of sockets or keys."""
    if isinstance(value, str):
        name, equals, paths = value.partition("=")
        return {"id": name, "paths": paths.split(",")} if equals else {"id": name}
    if not isinstance(value, dict):
        raise ExpressionError(f"a string or an object is needed, not {kind_of(value)}")
    _refuse_others(value, ("id", "paths"), "ssh")
    found: Entry = {"id": as_text(value["id"])} if value.get("id") else {}
    if value.get("paths"):
        found["paths"] = [as_text(item) for item in value["paths"]]
    return found


def attest_entry(value: Value) -> Entry:
    """Return an attestation; `disabled` is True or not there."""
    found = _pairs(value) if isinstance(value, str) else _texts(value)
    entry = {key.strip().lower() if key.strip().lower() in ("type", "disabled") else key: found[key] for key in found}
    if "type" not in entry:
        raise ExpressionError("an attestation has no type", remedy="write type=provenance or type=sbom")
    if "disabled" in entry:
        disabled = truth(entry.pop("disabled"))
        if disabled is None:
            raise ExpressionError("disabled of an attestation is neither true nor false")
        return {**entry, "disabled": True} if disabled else entry
    return entry


def attest_text(kind: str, value: str) -> str:
    """Return what --sbom=VALUE and --provenance=VALUE stand for."""
    is_on = truth(value)
    if is_on is None:
        return f"type={kind},{value}"
    return f"type={kind},disabled={'false' if is_on else 'true'}"


def entry_text(entry: Mapping[str, Any]) -> str:
    """Return an object as the text that an option takes."""
    parts = []
    for key in sorted(entry, key=lambda name: (name != "type", name != "dest", name)):
        item = entry[key]
        part = f"{key}={str(item).lower() if isinstance(item, bool) else item}"
        parts.append(f'"{part.replace(chr(34), chr(34) * 2)}"' if "," in part or '"' in part else part)
    return ",".join(parts)


def split_csv(value: str) -> list[str]:
    """Return the fields of a line of CSV. Raises ExpressionError."""
    try:
        rows = list(csv.reader([value], strict=True))
    except csv.Error as exc:
        raise ExpressionError(f'"{value}" is no CSV: {exc}') from exc
    return rows[0] if rows else []


def unique_entries(entries: Sequence[Entry]) -> list[Entry]:
    """Return entries, each once."""
    found: list[Entry] = []
    for entry in entries:
        if entry not in found:
            found.append(entry)
    return found


def merged_by(key: str) -> Callable[[Sequence[Entry], Sequence[Entry]], list[Entry]]:
    """Return what merges lists of entries; a later one of the same `key` takes the place of an earlier."""

    def merge(base: Sequence[Entry], above: Sequence[Entry]) -> list[Entry]:
        found: dict[Any, Entry] = {}
        for entry in (*base, *above):
            found[entry.get(key)] = entry
        return list(found.values())

    return merge


def _pairs(value: str, *, lower: bool = False) -> dict[str, str]:
    found = {}
    for part in split_csv(value):
        key, equals, item = part.partition("=")
        if not equals:
            raise ExpressionError(f'"{part}" in "{value}" is not KEY=VALUE')
        found[key.strip().lower() if lower else key] = item
    return found


def _texts(value: Value) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ExpressionError(f"a string or an object is needed, not {kind_of(value)}")
    return {key: as_text(item) for key, item in value.items() if item is not None}


def _typed(entry: dict[str, str], value: Value) -> Entry:
    if not entry.get("type"):
        shown = value if isinstance(value, str) else entry_text(entry)
        raise ExpressionError(f'"{shown}" has no type', remedy="add type=…")
    return entry


def _refuse_others(found: Mapping[str, Any], known: Sequence[str], what: str) -> None:
    for key in found:
        if key not in known:
            raise ExpressionError(f'{what} takes no "{key}"', remedy=f"it takes {', '.join(known)}")
