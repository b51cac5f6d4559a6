"""Every value in its long form, so that what follows has to know one form only; defaults; paths from the top."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from tiffin.builder.compose import short_forms
from tiffin.builder.compose.merging import STARTED, as_list, as_mapping, text_of
from tiffin.builder.compose.places import (
    ITEM,
    NOWHERE,
    Map,
    Override,
    Path,
    Place,
    Reset,
    Seq,
    matches,
    path_text,
    wrong,
)

_Transform = Callable[[Any, Place], Any]
REMOTE = (
    "https://",
    "http://",
    "git://",
    "ssh://",
    "git@",
    "github.com/",
    "docker-image://",
    "oci-layout://",
    "service:",
)


def canonical(value: Any, path: Path = (), place: Place = NOWHERE) -> Any:
    """Return a document in long forms. Raises ComposeError."""
    if isinstance(value, Reset):
        return value
    if isinstance(value, Override):
        return Override(canonical(value.value, path, place))
    for pattern, transform in _FORMS.items():
        if matches(path, pattern):
            try:
                value = transform(value, place)
            except ValueError as exc:
                raise wrong(f"{path_text(path)}: {exc}", place, remedy="correct it") from exc
            break
    if isinstance(value, Map):
        return Map((key, canonical(item, (*path, key), at), at) for key, item, at in value.entries())
    if isinstance(value, Seq):
        return Seq((canonical(item, (*path, ITEM), at), at) for item, at in value.entries())
    return value


def _build(value: Any, place: Place) -> Any:
    return Map([("context", value, place)]) if isinstance(value, str) else value


def _depends_on(value: Any, place: Place) -> Any:
    result = as_mapping(value, STARTED)
    for name, item, at in list(result.entries()):
        if not isinstance(item, Map):
            raise ValueError(f'"{name}" must be a mapping')
        for key, default in STARTED.items():
            if key not in item:
                item.put(key, default, at)
    return result


def _env_files(value: Any, place: Place) -> Any:
    result = []
    for item, at in as_list(value, place).entries():
        entry = Map(item.entries()) if isinstance(item, Map) else Map([("path", item, at)])
        if "required" not in entry:
            entry.put("required", True, at)
        result.append((entry, at))
    return Seq(result)


def _file_mount(value: Any, place: Place) -> Any:
    return value if isinstance(value, Map) else Map([("source", str(value), place)])


def _ports(value: Any, place: Place) -> Any:
    result: list[tuple[Any, Place]] = []
    for item, at in value.entries():
        found = [item] if isinstance(item, Map) else short_forms.ports(text_of(item), at)
        result += [(one, at) for one in found]
    return Seq(result)


def _volume(value: Any, place: Place) -> Any:
    return value if isinstance(value, Map) else short_forms.volume(str(value), place)


def _device(value: Any, place: Place) -> Any:
    return value if isinstance(value, Map) else short_forms.device(str(value), place)


def _gpus(value: Any, place: Place) -> Any:
    return value if isinstance(value, Seq) else Seq([(Map([("count", "all", place)]), place)])


def _extends(value: Any, place: Place) -> Any:
    return value if isinstance(value, Map) else Map([("service", value, place)])


def _key_values(value: Any, place: Place) -> Any:
    return value if isinstance(value, Map) else short_forms.key_values(value)


def _texts(value: Any, place: Place) -> Any:
    """Return a mapping of texts."""
    items = value if isinstance(value, Map) else short_forms.key_values(as_list(value, place))
    return Map((key, None if item is None else text_of(item), at) for key, item, at in items.entries())


def _labels(value: Any, place: Place) -> Any:
    return Map((key, item or "", at) for key, item, at in _texts(value, place).entries())


def _hosts(value: Any, place: Place) -> Any:
    """Return NAME=ADDRESS texts."""
    found = []
    for text, at in as_list(value, place).entries():
        separator = "=" if "=" in text else ":"
        name, is_there, address = text.partition(separator)
        if not is_there or not name:
            raise ValueError(f'"{text}" is not NAME:ADDRESS')
        found.append((f"{name}={address.removeprefix('[').removesuffix(']')}", at))
    return Seq(found)


def _external(value: Any, place: Place) -> Any:
    """Return a resource whose `external` is true or false; the name that an older form had below it is its own."""
    if not isinstance(value, Map) or not isinstance(value.get("external"), Map):
        return value
    result = Map(value.entries())
    named, at = value["external"].get("name"), value.place("external")
    if named is not None and result.get("name", named) != named:
        raise ValueError("name and external.name are not the same")
    if named is not None:
        result.put("name", named, at)
    result.put("external", True, at)
    return result


def _words(value: Any, place: Place) -> Any:
    """Return the words of a command in the place of its line."""
    if not isinstance(value, str):
        return value
    import shlex

    try:
        return Seq((word, place) for word in shlex.split(value))
    except ValueError as exc:
        raise ValueError(f'"{value}": {str(exc).lower()}') from exc


def _test(value: Any, place: Place) -> Any:
    return Seq([("CMD-SHELL", place), (value, place)]) if isinstance(value, str) else value


def _switch_text(value: Any, place: Place) -> Any:
    return value if isinstance(value, str) else text_of(value)


_FORMS: dict[str, _Transform] = {
    "services.*.build": _build,
    "services.*.build.args": _texts,
    "services.*.build.additional_contexts": _texts,
    "services.*.build.labels": _labels,
    "services.*.build.extra_hosts": _hosts,
    "services.*.build.secrets.*": _file_mount,
    "services.*.build.no_cache_filter": as_list,
    "services.*.build.provenance": _switch_text,
    "services.*.build.sbom": _switch_text,
    "services.*.build.ssh": _key_values,
    "services.*.annotations": _labels,
    "services.*.command": _words,
    "services.*.configs.*": _file_mount,
    "services.*.depends_on": _depends_on,
    "services.*.deploy.labels": _labels,
    "services.*.develop.watch.*.ignore": as_list,
    "services.*.develop.watch.*.include": as_list,
    "services.*.develop.watch.*.exec.command": _words,
    "services.*.develop.watch.*.exec.environment": _texts,
    "services.*.devices.*": _device,
    "services.*.dns": as_list,
    "services.*.dns_search": as_list,
    "services.*.entrypoint": _words,
    "services.*.env_file": _env_files,
    "services.*.environment": _texts,
    "services.*.expose": lambda value, _: Seq((text_of(item), at) for item, at in value.entries()),
    "services.*.extends": _extends,
    "services.*.extra_hosts": _hosts,
    "services.*.gpus": _gpus,
    "services.*.group_add": lambda value, _: Seq((text_of(item), at) for item, at in value.entries()),
    "services.*.healthcheck.test": _test,
    "services.*.label_file": as_list,
    "services.*.labels": _labels,
    "services.*.logging.options": _texts,
    "services.*.models": lambda value, _: as_mapping(value),
    "services.*.networks": lambda value, _: as_mapping(value),
    "services.*.ports": _ports,
    "services.*.post_start.*.command": _words,
    "services.*.post_start.*.environment": _texts,
    "services.*.pre_start.*.command": _words,
    "services.*.pre_start.*.environment": _texts,
    "services.*.pre_stop.*.command": _words,
    "services.*.pre_stop.*.environment": _texts,
    "services.*.secrets.*": _file_mount,
    "services.*.sysctls": _texts,
    "services.*.tmpfs": as_list,
    "services.*.volumes.*": _volume,
    "services.*.volumes.*.volume.labels": _labels,
    "networks.*": _external,
    "networks.*.driver_opts": _texts,
    "networks.*.labels": _labels,
    "volumes.*": _external,
    "volumes.*.driver_opts": _texts,
    "volumes.*.labels": _labels,
    "secrets.*": _external,
    "secrets.*.labels": _labels,
    "configs.*": _external,
    "configs.*.labels": _labels,
}


def with_defaults(document: Map) -> Map:
    """Return a document with what is so where nothing is said."""
    result = Map(document.entries())
    services = document.get("services")
    if isinstance(services, Map):
        defaulted = ((name, _service_defaults(service), place) for name, service, place in services.entries())
        result.put("services", Map(defaulted), document.place("services"))
    return result


def _service_defaults(service: Any) -> Any:
    if not isinstance(service, Map):
        return service
    for item, place in service.get("ports", Seq()).entries():
        for key, default in (("protocol", "tcp"), ("mode", "ingress")):
            if key not in item:
                item.put(key, default, place)
        if "published" in item:
            item.put("published", text_of(item["published"]), place)
    for item, place in service.get("secrets", Seq()).entries():
        if "target" not in item:
            item.put("target", f"/run/secrets/{item.get('source')}", place)
    for item, place in service.get("volumes", Seq()).entries():
        if isinstance(item.get("bind"), Map) and "create_host_path" not in item["bind"]:
            item["bind"].put("create_host_path", True, place)
    if isinstance(service.get("build"), Map) and "context" not in service["build"]:
        service["build"].put("context", ".", service.place("build"))
    return service


# -- paths -------------------------------------------------------------------------------------------------------------


def with_paths(document: Map, directory: str) -> Map:
    """Return a document whose paths of this machine are absolute, relative ones from `directory`."""
    return _Paths(directory).of(document, ())  # type: ignore[no-any-return]


class _Paths:
    def __init__(self, directory: str) -> None:
        self._directory = directory

    def of(self, value: Any, path: Path) -> Any:
        """Return a value with its paths."""
        for pattern, resolve in self._rules().items():
            if matches(path, pattern):
                return resolve(value)
        if isinstance(value, Map):
            return Map((key, self.of(item, (*path, key)), place) for key, item, place in value.entries())
        if isinstance(value, Seq):
            return Seq((self.of(item, (*path, ITEM)), place) for item, place in value.entries())
        return value

    def _rules(self) -> dict[str, Callable[[Any], Any]]:
        return {
            "services.*.build.context": self._context,
            "services.*.build.additional_contexts.*": self._context,
            "services.*.build.ssh.*": self._absolute,
            "services.*.env_file.*.path": self._absolute,
            "services.*.label_file.*": self._absolute,
            "services.*.extends.file": self._absolute,
            "services.*.develop.watch.*.path": self._absolute,
            "services.*.volumes.*": self._bind,
            "configs.*.file": self._absolute,
            "secrets.*.file": self._absolute,
            "volumes.*": self._driver_options,
        }

    def _absolute(self, value: Any) -> Any:
        if not isinstance(value, str) or not value:
            return value
        return os.path.normpath(os.path.join(self._directory, os.path.expanduser(value)))  # noqa: PTH111, PTH118

    def _context(self, value: Any) -> Any:
        if not isinstance(value, str) or value.startswith(REMOTE) or "://" in value:
            return value
        return self._absolute(value)

    def _bind(self, value: Any) -> Any:
        if value.get("type") != "bind" or "source" not in value:
            return value
        result = Map(value.entries())
        result.put("source", self._absolute(value["source"]), value.place("source"))
        return result

    def _driver_options(self, value: Any) -> Any:
        """Take a volume that is a bind mount by its options."""
        options = value.get("driver_opts") if isinstance(value, Map) else None
        if not isinstance(options, Map) or value.get("driver", "local") != "local" or "device" not in options:
            return value
        if "bind" not in str(options.get("o", "")).split(","):
            return value
        changed = Map(options.entries())
        changed.put("device", self._absolute(options["device"]), options.place("device"))
        result = Map(value.entries())
        result.put("driver_opts", changed, value.place("driver_opts"))
        return result
