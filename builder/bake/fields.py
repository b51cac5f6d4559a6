"""What may stand in a target, as data: how each attribute is read, and what becomes of it under another target's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tiffin.builder.bake.entries import (
    attest_entry,
    cache_entries,
    export_entry,
    merged_by,
    secret_entry,
    ssh_entry,
    unique_entries,
)
from tiffin.builder.bake.hcl.faults import ExpressionError
from tiffin.builder.bake.hcl.values import Value, as_bool, as_text, kind_of
from tiffin.cache.foundation.frozen import dataclass

DESCRIPTION, INHERITS, CONTEXT, CONTEXTS, DOCKERFILE = "description", "inherits", "context", "contexts", "dockerfile"
ARGS, LABELS, TAGS, OUTPUT, PLATFORMS, EXTRA_HOSTS = "args", "labels", "tags", "output", "platforms", "extra-hosts"
CACHE_FROM, CACHE_TO, SECRET, SSH, ATTEST, ANNOTATIONS = (
    "cache-from", "cache-to", "secret", "ssh", "attest", "annotations",
)  # fmt: skip
ENTITLEMENTS, NETWORK, PULL, NO_CACHE, NO_CACHE_FILTER = (
    "entitlements", "network", "pull", "no-cache", "no-cache-filter",
)  # fmt: skip
SHM_SIZE, ULIMITS, RESOURCES, CALL, POLICY, STAGE, INLINE = (
    "shm-size", "ulimits", "resources", "call", "policy", "target", "dockerfile-inline",
)  # fmt: skip
RESOURCE_TEXTS = ("memory", "memory-swap", "cpuset-cpus", "cpuset-mems")
RESOURCE_NUMBERS = ("cpu-shares", "cpu-period", "cpu-quota")


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """An attribute of targets. `merge` makes one value of that of a base and that of what stands above it."""

    name: str
    read: Callable[[Value], Any]
    merge: Callable[[Any, Any], Any]
    escapes: bool = False  # ${ and %{ are written so that reading them gives the same


def text(value: Value) -> str:
    """Return a text."""
    return as_text(value)


def texts(value: Value) -> list[str]:
    """Return a list of texts."""
    if not isinstance(value, list):
        raise ExpressionError(f"a list of strings is needed, not {kind_of(value)}", remedy="put it into […]")
    return [as_text(item) for item in no_nulls(value)]


def no_nulls(items: list[Value]) -> list[Value]:
    """Return items as they are. Raises ExpressionError for a null: a tag or a platform would be missing in silence."""
    if any(item is None for item in items):
        raise ExpressionError("a null is in the list", remedy="leave it out: [for item in LIST : item if item != null]")
    return items


def text_map(value: Value) -> dict[str, str | None]:
    """Return texts by name; null is kept, for it says that there is none."""
    if not isinstance(value, dict):
        raise ExpressionError(f"a map of strings is needed, not {kind_of(value)}", remedy="put it into {…}")
    return {name: None if item is None else as_text(item) for name, item in value.items()}


def _list_of(read: Callable[[Value], Any]) -> Callable[[Value], list[Any]]:
    def read_all(value: Value) -> list[Any]:
        if not isinstance(value, list):
            raise ExpressionError(f"a list is needed, not {kind_of(value)}", remedy="put it into […]")
        return [read(item) for item in no_nulls(value) if item != ""]

    return read_all


def _caches(value: Value) -> list[dict[str, str]]:
    return [entry for entries in _list_of(cache_entries)(value) for entry in entries]


def resources(value: Value) -> dict[str, str | int]:
    """Return limits by name."""
    found: dict[str, str | int] = {}
    for name, item in text_map(value).items():
        if item is not None:
            found[name] = resource(name, item)
    return found


def resource(name: str, item: str) -> str | int:
    """Return one limit. Raises ExpressionError."""
    if name in RESOURCE_TEXTS:
        return item
    if name not in RESOURCE_NUMBERS:
        known = ", ".join((*RESOURCE_TEXTS, *RESOURCE_NUMBERS))
        raise ExpressionError(f"there is no resource {name}", remedy=f"there are {known}")
    try:
        return int(item)
    except ValueError as exc:
        raise ExpressionError(f"{name} needs a whole number, not {item}", remedy="give a number") from exc


def policy_entry(value: Value) -> dict[str, Any]:
    """Return a policy as it is written."""
    return dict(value) if isinstance(value, dict) else {"filename": as_text(value)}


def _above(_: Any, above: Any) -> Any:
    return above


def _added(base: list[Any], above: list[Any]) -> list[Any]:
    return [*base, *above]


def _merged(base: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    return {**base, **{name: item for name, item in above.items() if item is not None}}


def _unique(base: list[Any], above: list[Any]) -> list[Any]:
    return unique_entries([*base, *above])


FIELDS = {
    field.name: field
    for field in (  # in the order in which they are printed
        Field(name=DESCRIPTION, read=text, merge=lambda base, above: above or base),
        Field(name=INHERITS, read=texts, merge=_added),
        Field(name=ANNOTATIONS, read=texts, merge=_added, escapes=True),
        Field(name=ATTEST, read=_list_of(attest_entry), merge=merged_by("type")),
        Field(name=CONTEXT, read=text, merge=_above),
        Field(name=CONTEXTS, read=text_map, merge=_merged),
        Field(name=DOCKERFILE, read=text, merge=_above),
        Field(name=INLINE, read=text, merge=_above, escapes=True),
        Field(name=ARGS, read=text_map, merge=_merged, escapes=True),
        Field(name=LABELS, read=text_map, merge=_merged, escapes=True),
        Field(name=TAGS, read=texts, merge=_above),
        Field(name=CACHE_FROM, read=_caches, merge=_unique),
        Field(name=CACHE_TO, read=_caches, merge=_above),
        Field(name=STAGE, read=text, merge=_above),
        Field(name=SECRET, read=_list_of(secret_entry), merge=merged_by("id")),
        Field(name=SSH, read=_list_of(ssh_entry), merge=merged_by("id")),
        Field(name=PLATFORMS, read=texts, merge=_above),
        Field(name=OUTPUT, read=_list_of(export_entry), merge=_above),
        Field(name=PULL, read=as_bool, merge=_above),
        Field(name=NO_CACHE, read=as_bool, merge=_above),
        Field(name=NETWORK, read=text, merge=_above),
        Field(name=NO_CACHE_FILTER, read=texts, merge=_added),
        Field(name=SHM_SIZE, read=text, merge=_above),
        Field(name=ULIMITS, read=texts, merge=_added),
        Field(name=RESOURCES, read=resources, merge=_merged),
        Field(name=CALL, read=text, merge=_above),
        Field(name=ENTITLEMENTS, read=texts, merge=_added),
        Field(name=EXTRA_HOSTS, read=text_map, merge=_merged, escapes=True),
        Field(name=POLICY, read=_list_of(policy_entry), merge=_added),
    )
}
