"""One compose file over another, and a service over the one that it extends, by the rules of the specification."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tiffin.builder.compose.places import (
    NOWHERE,
    Map,
    Override,
    Path,
    Place,
    Reset,
    Seq,
    copied,
    matches,
    path_text,
    wrong,
)

_TO_LIST = (
    "networks.*.labels", "volumes.*.labels", "services.*.annotations", "services.*.build.args",
    "services.*.build.additional_contexts", "services.*.build.labels", "services.*.deploy.labels", "services.*.dns",
    "services.*.dns_opt", "services.*.dns_search", "services.*.env_file", "services.*.label_file",
    "services.*.environment", "services.*.labels", "services.*.volumes.*.volume.labels", "services.*.sysctls",
    "services.*.tmpfs",
)  # fmt: skip
_REPLACED = (
    "services.*.command",
    "services.*.entrypoint",
    "services.*.healthcheck.test",
    "services.*.ulimits.*",
    "models.*.runtime_flags",
)
STARTED = {"condition": "service_started", "required": True}  # of a dependency that says no more


def merge(base: Any, over: Any, path: Path = (), place: Place = NOWHERE) -> Any:
    """Return `base` with `over` on top; marks of `!reset` and `!override` stay, for what is yet below.

    Raises ComposeError.
    """
    if isinstance(over, (Reset, Override)) or isinstance(base, Reset):
        return over
    if isinstance(base, Override):
        return Override(merge(base.value, over, path, place))
    for pattern, merger in _SPECIAL.items():
        if matches(path, pattern):
            return merger(base, over, path, place)
    if over is None:
        return base
    if isinstance(base, Map) or isinstance(over, Map):
        return _mappings(base, over, path, place)
    if isinstance(base, Seq) and isinstance(over, Seq):
        return _joined(base, over)
    if isinstance(base, Seq) and base:
        raise _unlike(path, place)
    return over


def _unlike(path: Path, place: Place) -> Exception:
    return wrong(f"{path_text(path)} is of another kind than in the file below", place, remedy="use the same form")


def _mappings(base: Any, over: Any, path: Path, place: Place) -> Any:
    base, over = Map() if base is None else base, Map() if over is None else over
    if not isinstance(base, Map) or not isinstance(over, Map):
        raise _unlike(path, place)
    result = Map(base.entries())
    for key, value, at in over.entries():
        if key in result:
            result.put(key, merge(result[key], value, (*path, key), at), at)
        else:
            result.put(key, value, at)
    return result


def _joined(base: Seq, over: Seq) -> Seq:
    return Seq([*base.entries(), *over.entries()])


def as_list(value: Any, place: Place = NOWHERE) -> Seq:
    """Return NAME=VALUE texts in the place of a mapping, a list of one in that of a text."""
    if isinstance(value, Map):
        pairs: list[tuple[Any, Place]] = []
        for key, item, at in sorted(value.entries(), key=lambda entry: entry[0]):
            item = item.value if isinstance(item, Override) else item
            items = item if isinstance(item, Seq) else [] if isinstance(item, Reset) else [item]
            pairs += [(key if one is None else f"{key}={text_of(one)}", at) for one in items]
        return Seq(pairs)
    if isinstance(value, Seq):
        return value
    return Seq() if value is None else Seq([(value, place)])


def text_of(value: Any) -> str:
    """Return a plain value as a text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def as_mapping(value: Any, default: Any = None) -> Map:
    """Return a mapping in the place of a list of names."""
    if isinstance(value, Seq):
        return Map((str(name), _default(default, at), at) for name, at in value.entries())
    return value if isinstance(value, Map) else Map()


def _default(default: Any, place: Place) -> Any:
    return Map((key, item, place) for key, item in default.items()) if isinstance(default, dict) else default


def _lists(base: Any, over: Any, path: Path, place: Place) -> Any:
    gone = {key for key, item in over.items() if isinstance(item, Reset)} if isinstance(over, Map) else set()
    below = ((item, at) for item, at in as_list(base, place).entries() if _key(item) not in gone)
    return _joined(Seq(below), as_list(over, place))


def _over(base: Any, over: Any, path: Path, place: Place) -> Any:
    return over


def _hosts(base: Any, over: Any, path: Path, place: Place) -> Any:
    below = as_list(base, place)
    return Seq([*below.entries(), *((item, at) for item, at in as_list(over, place).entries() if item not in below)])


def _build(base: Any, over: Any, path: Path, place: Place) -> Any:
    def full(value: Any) -> Any:
        return Map([("context", value, place)]) if isinstance(value, str) else value

    return _mappings(full(base), full(over), path, place)


def _named(default: Any) -> Callable[[Any, Any, Path, Place], Any]:
    return lambda base, over, path, place: _mappings(as_mapping(base, default), as_mapping(over, default), path, place)


def _logging(base: Any, over: Any, path: Path, place: Place) -> Any:
    """Merge options of one driver; another driver has options of its own."""
    if isinstance(base, Map) and isinstance(over, Map):
        drivers = {value["driver"] for value in (base, over) if "driver" in value}
        if len(drivers) > 1:
            return over
    return _mappings(base, over, path, place)


def _subnets(base: Any, over: Any, path: Path, place: Place) -> Any:
    """Merge those of one subnet; others stand beside each other."""
    result: dict[Any, tuple[Any, Place]] = {}
    for value in (base, over):
        for item, at in as_list(value, place).entries():
            key = item.get("subnet") if isinstance(item, Map) else None
            known = result.get(key)
            result[key] = (item if known is None else _mappings(known[0], item, path, place), at)
    return Seq(result.values())


_Merger = Callable[[Any, Any, Path, Place], Any]
_SPECIAL: dict[str, _Merger] = {
    **dict.fromkeys(_TO_LIST, _lists),
    **dict.fromkeys(_REPLACED, _over),
    "networks.*.ipam.config": _subnets,
    "services.*.build": _build,
    "services.*.build.extra_hosts": _hosts,
    "services.*.extra_hosts": _hosts,
    "services.*.depends_on": _named(STARTED),
    "services.*.logging": _logging,
    "services.*.models": _named(None),
    "services.*.networks": _named(None),
}


# -- items that are there once -----------------------------------------------------------------------------------------


def _key(item: Any) -> str:
    return item.partition("=")[0] if isinstance(item, str) else text_of(item)


def _target(item: Any) -> str:
    """Return where a mount or a device is in the container."""
    if isinstance(item, Map):
        return text_of(item.get("target", item.get("source")))
    parts = str(item).split(":")
    return parts[0] if len(parts) == 1 else parts[1]


def _file_target(folder: str) -> Callable[[Any], str]:
    def target(item: Any) -> str:
        if isinstance(item, Map):
            return str(item.get("target") or f"{folder}/{item.get('source')}")
        return f"{folder}/{item}"

    return target


def _port(item: Any) -> str:
    if not isinstance(item, Map):
        return text_of(item)
    host, published = item.get("host_ip", "0.0.0.0"), item.get("published")
    return f"{host}:{text_of(published)}:{text_of(item.get('target'))}/{item.get('protocol', 'tcp')}"


def _path(item: Any) -> str:
    return str(item.get("path")) if isinstance(item, Map) else str(item)


_UNIQUE: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(
        (
            "networks.*.labels", "networks.*.ipam.options", "services.*.annotations", "services.*.build.args",
            "services.*.build.additional_contexts", "services.*.build.platforms", "services.*.build.tags",
            "services.*.build.labels", "services.*.cap_add", "services.*.cap_drop", "services.*.deploy.labels",
            "services.*.dns", "services.*.dns_opt", "services.*.dns_search", "services.*.environment",
            "services.*.expose", "services.*.labels", "services.*.links", "services.*.networks.*.aliases",
            "services.*.networks.*.link_local_ips", "services.*.profiles", "services.*.sysctls", "services.*.tmpfs",
        ),
        _key,
    ),
    "services.*.configs": _file_target(""),
    "services.*.secrets": _file_target("/run/secrets"),
    "services.*.volumes": _target,
    "services.*.devices": _target,
    "services.*.ports": _port,
    "services.*.env_file": _path,
}  # fmt: skip


def unique(value: Any, path: Path = ()) -> Any:
    """Return a document in which later items of a list stand for earlier ones of the same key."""
    if isinstance(value, Map):
        return Map((key, unique(item, (*path, key)), place) for key, item, place in value.entries())
    if not isinstance(value, Seq):
        return value
    key_of = next((found for pattern, found in _UNIQUE.items() if matches(path, pattern)), None)
    if key_of is None:
        return value
    result: dict[str, tuple[Any, Place]] = {}
    for item, place in value.entries():
        result[key_of(item)] = (item, place)
    return Seq(result.values())


def extended(base: Map, service: Map, place: Place) -> Map:
    """Return a service over the one that it extends."""
    result = merge(
        copied(base), Map(entry for entry in service.entries() if entry[0] != "extends"), ("services", "x"), place
    )
    assert isinstance(result, Map)
    return result
