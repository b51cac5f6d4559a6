"""What is meant though not said: the default network, names of resources, dependencies; and what cannot be meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tiffin.builder.compose.model.values import OF_SERVICE, SHARED_NAMESPACES
from tiffin.builder.compose.places import NOWHERE, Map, Place, Seq, wrong

RESOURCES = ("networks", "volumes", "secrets", "configs")
CONTAINER = "container:"


def normalized(document: Map, name: str, environment: Mapping[str, str]) -> Map:
    """Return a document with all that is implied."""
    result = Map(document.entries())
    result.put("name", name, document.place("name"))
    services = Map()
    for key, service, place in as_map(document.get("services")).entries():
        services.put(key, _service(as_map(service), environment, place), place)
    result.put("services", services, document.place("services"))
    networks = Map(as_map(document.get("networks")).entries())
    if "default" not in networks and any("default" in as_map(one.get("networks")) for one in services.values()):
        networks.put("default", Map(), NOWHERE)
    if networks:
        result.put("networks", networks, document.place("networks"))
    for section in RESOURCES:
        if section in result:
            result.put(section, _named(as_map(result[section]), name), result.place(section))
    return result


def as_map(value: Any) -> Map:
    """Return a mapping, an empty one for nothing."""
    return value if isinstance(value, Map) else Map()


def as_seq(value: Any) -> Seq:
    """Return a list, an empty one for nothing."""
    return value if isinstance(value, Seq) else Seq()


def _named(resources: Map, project: str) -> Map:
    """Return resources with the names that they have on the machine."""
    result = Map()
    for key, value, place in resources.entries():
        resource = Map(as_map(value).entries())
        if resource.get("name") is None:
            resource.put("name", key if resource.get("external") else f"{project}_{key}", place)
        result.put(key, resource, place)
    return result


def _service(service: Map, environment: Mapping[str, str], place: Place) -> Map:
    result = Map(service.entries())
    if result.get("pull_policy") == "if_not_present":
        result.put("pull_policy", "missing", service.place("pull_policy"))
    if "network_mode" not in result and "provider" not in result and not result.get("networks"):
        result.put("networks", Map([("default", None, place)]), place)
    if isinstance(result.get("build"), Map):
        result.put("build", _build(result["build"], environment), service.place("build"))
    if "environment" in result:
        result.put("environment", _resolved(result["environment"], environment), service.place("environment"))
    dependencies = _dependencies(result)
    if dependencies:
        result.put("depends_on", dependencies, service.place("depends_on"))
    return result


def _build(build: Map, environment: Mapping[str, str]) -> Map:
    result = Map(build.entries())
    place = next(iter(build.places.values()), NOWHERE)
    if "dockerfile" not in result and "dockerfile_inline" not in result:
        result.put("dockerfile", "Dockerfile", place)
    if "args" in result:
        known = (entry for entry in _resolved(result["args"], environment).entries() if entry[1] is not None)
        result.put("args", Map(known), build.place("args"))
    return result


def _resolved(variables: Map, environment: Mapping[str, str]) -> Map:
    """Return variables with the values of those that have none from the environment."""
    return Map(
        (name, environment.get(name) if value is None else value, place) for name, value, place in variables.entries()
    )


def _dependencies(service: Map) -> Map:
    """Return what a service depends on, also by what it shares with others."""
    result = Map(as_map(service.get("depends_on")).entries())
    for other, place, restarts in _implied(service):
        if other not in result:
            implied = Map([("condition", "service_started", place)])
            if restarts:
                implied.put("restart", True, place)
            implied.put("required", True, place)
            result.put(other, implied, place)
    return result


def _implied(service: Map) -> Iterator[tuple[str, Place, bool]]:
    for link, place in as_seq(service.get("links")).entries():
        yield str(link).partition(":")[0], place, True
    for kind in ("network_mode", *SHARED_NAMESPACES):
        text = str(service.get(kind) or "")
        if text.startswith(OF_SERVICE):
            yield text.removeprefix(OF_SERVICE), service.place(kind), True
    for source, place in as_seq(service.get("volumes_from")).entries():
        if not str(source).startswith(CONTAINER):
            yield str(source).partition(":")[0], place, False


# -- consistency -------------------------------------------------------------------------------------------------------


def check(document: Map, enabled: Mapping[str, object]) -> None:
    """Raise ComposeError where parts of a document do not go together; only of services that are `enabled`."""
    for name, service, place in as_map(document.get("services")).entries():
        if name in enabled:
            _Consistency(name, service, place, document, enabled).check()
    for section, members in (("secrets", ("file", "environment")), ("configs", ("file", "environment", "content"))):
        for name, resource, place in as_map(document.get(section)).entries():
            given = [member for member in members if member in resource]
            if resource.get("external") and given:
                raise wrong(f"{section}.{name} is external, and has {given[0]}", place, remedy="leave out one of them")
            if not resource.get("external") and len(given) != 1:
                what = " and ".join(given) if given else f"none of {', '.join(members)}"
                raise wrong(f"{section}.{name} has {what}", place, remedy=f"give one of {', '.join(members)}")
    for section in ("networks", "volumes"):
        for name, resource, place in as_map(document.get(section)).entries():
            extra = [key for key in resource if key not in ("name", "external") and not key.startswith("x-")]
            if resource.get("external") and extra:
                raise wrong(f"{section}.{name} is external, and has {extra[0]}", place, remedy="leave out one of them")


class _Consistency:
    """Of one service."""

    def __init__(self, name: str, service: Map, place: Place, document: Map, enabled: Mapping[str, object]) -> None:
        self._name = name
        self._service = service
        self._place = place
        self._document = document
        self._enabled = enabled

    def check(self) -> None:
        """Raise ComposeError where something does not go together."""
        service = self._service
        if not service.get("image") and "build" not in service and "provider" not in service:
            raise self._wrong("has neither an image nor a build", self._place, "add image: or build:")
        build = as_map(service.get("build"))
        if "dockerfile" in build and "dockerfile_inline" in build:
            raise self._wrong(
                "has dockerfile and dockerfile_inline", build.place("dockerfile"), "leave out one of them"
            )
        if service.get("network_mode") and service.get("networks"):
            raise self._wrong("has network_mode and networks", service.place("network_mode"), "leave out one of them")
        self._check_references(build)
        self._check_dependencies()
        self._check_scale()
        self._check_targets()
        test = as_seq(as_map(service.get("healthcheck")).get("test"))
        if test and test[0] not in ("CMD", "CMD-SHELL", "NONE"):
            raise self._wrong("healthcheck.test begins with CMD, CMD-SHELL or NONE", test.places[0], "add one of them")

    def _wrong(self, message: str, place: Place, remedy: str) -> Exception:
        return wrong(f"services.{self._name} {message}", place, remedy=remedy)

    def _check_references(self, build: Map) -> None:
        service = self._service
        used = [("networks", name, place) for name, _, place in as_map(service.get("networks")).entries()]
        for section in ("secrets", "configs"):
            used += [(section, item.get("source"), place) for item, place in as_seq(service.get(section)).entries()]
        used += [("secrets", item.get("source"), place) for item, place in as_seq(build.get("secrets")).entries()]
        for item, place in as_seq(service.get("volumes")).entries():
            if item.get("type") == "bind" and not item.get("source"):
                raise self._wrong("has a bind mount without a source", place, "add source:")
            if item.get("type") == "volume" and item.get("source"):
                used.append(("volumes", item["source"], place))
        for section, name, place in used:
            if name not in as_map(self._document.get(section)):
                remedy = f"add it below {section}:" + (" , or begin a path with ./" if section == "volumes" else "")
                raise self._wrong(f'refers to "{name}", which is not among {section}', place, remedy.replace(" ,", ","))

    def _check_dependencies(self) -> None:
        services = as_map(self._document.get("services"))
        for other, dependency, place in as_map(self._service.get("depends_on")).entries():
            if other not in services:
                raise self._wrong(f'depends on "{other}", which is not among services', place, "add it")
            if other not in self._enabled and dependency.get("required", True):
                raise self._wrong(
                    f'depends on "{other}", whose profile is not active', place, "add --profile, or required: false"
                )

    def _check_scale(self) -> None:
        service = self._service
        deploy = as_map(service.get("deploy"))
        scale, replicas = service.get("scale"), deploy.get("replicas")
        if scale is not None and replicas is not None and scale != replicas:
            raise self._wrong("has scale and other deploy.replicas", service.place("scale"), "leave out one of them")
        count = scale if scale is not None else replicas
        if count is not None and int(count) < 0:
            raise self._wrong("has a scale below 0", service.place("scale"), "give 0 or more")
        if count is not None and int(count) > 1 and service.get("container_name"):
            raise self._wrong(
                "has container_name and a scale above 1", service.place("container_name"), "leave out one of them"
            )
        limits = as_map(as_map(deploy.get("resources")).get("limits"))
        for old, new in (("cpus", "cpus"), ("mem_limit", "memory"), ("pids_limit", "pids")):
            if service.get(old) and new in limits and str(service[old]) != str(limits[new]):
                raise self._wrong(
                    f"has {old} and another deploy.resources.limits.{new}", service.place(old), "leave out one of them"
                )

    def _check_targets(self) -> None:
        """Refuse two mounts in one place."""
        seen: set[str] = set()
        targets = [(str(item).partition(":")[0], place) for item, place in as_seq(self._service.get("tmpfs")).entries()]
        targets += [(item.get("target"), place) for item, place in as_seq(self._service.get("volumes")).entries()]
        for target, place in targets:
            if target in seen:
                raise self._wrong(f"mounts two things on {target}", place, "keep one of them")
            seen.add(target)
