"""Load a project: files, variables, profiles."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tiffin.builder.compose.dotenv import read_env_file
from tiffin.builder.compose.finding import Found, ProjectOptions, find, project_name
from tiffin.builder.compose.loading import Loader, read_text
from tiffin.builder.compose.merging import text_of
from tiffin.builder.compose.model.reading import read_resource, read_service
from tiffin.builder.compose.model.values import Project, Resource, Service
from tiffin.builder.compose.normal import as_map, as_seq, check, normalized
from tiffin.builder.compose.places import Map, wrong
from tiffin.builder.compose.yaml_files import read_yaml
from tiffin.builder.errors import UsageError

ALL_PROFILES = "*"


def load_project(
    options: ProjectOptions,
    environ: Mapping[str, str],
    cwd: str,
    warn: Callable[[str], None] = lambda _: None,
    *,
    services: Sequence[str] = (),
    interpolates: bool = True,
    reads_env_files: bool = True,
    checks: bool = True,
) -> Project:
    """Return the project that a line means; `services` are enabled whatever their profiles.

    The env_file and label_file of services that nothing needs are not read: with `services`, those that are not among
    them and that none of them depends on. `checks`: what services name has to be there.

    Raises ComposeError, UsageError.
    """
    found = find(options, environ, cwd, warn)
    if not found.files:
        raise UsageError(
            "no configuration file provided: not found", remedy="write a compose.yaml, or name a file with -f"
        )
    name = _name(options, found)
    environment = {**found.environment, "COMPOSE_PROJECT_NAME": name}
    loader = Loader(found.directory, environment, warn, interpolates=interpolates)
    document = loader.load(found.files)
    if not document.get("services") and not any(as_map(document.get(key)) for key in ("networks", "volumes")):
        raise wrong("empty compose file", None, remedy="give it services:")
    document = normalized(document, name, environment)
    enabled = _enabled(as_map(document["services"]), found.profiles, services)
    if checks:
        check(document, dict.fromkeys(enabled))
    if reads_env_files:
        document = _with_env_files(document, _needed(document, enabled, services), environment, warn)
    project = _project(name, options.separator, found, document, {**loader.brought, **environment}, enabled)
    _warn_of_owners(project, warn)
    return project


def load_name(options: ProjectOptions, environ: Mapping[str, str], cwd: str, warn: Callable[[str], None]) -> str:
    """Return the name of a project alone, for commands that need no files. Raises ComposeError, UsageError."""
    return _name(options, find(options, environ, cwd, warn))


def _name(options: ProjectOptions, found: Found) -> str:
    needs_files = not options.name and not found.environment.get("COMPOSE_PROJECT_NAME") and "-" not in found.files
    documents = [raw for file in found.files for raw in read_yaml(read_text(file), file)] if needs_files else []
    return project_name(options, found, documents)


def _enabled(services: Map, profiles: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return the services whose profiles are active, and those that are asked for. Raises UsageError."""
    for name in wanted:
        if name not in services:
            raise wrong(f"no such service: {name}", None, remedy=f"the services are {', '.join(sorted(services))}")
    active = set(profiles)
    return [
        name
        for name, service in services.items()
        if not (own := as_seq(service.get("profiles")))
        or ALL_PROFILES in active
        or active.intersection(own)
        or name in wanted
    ]


def _needed(document: Map, enabled: Collection[str], wanted: Collection[str]) -> list[str]:
    """Return the services that are wanted, all that are enabled for none, and those that they depend on."""
    services = as_map(document["services"])
    needed = dict.fromkeys(wanted or enabled)
    pending = list(needed)
    while pending:
        for name in as_map(as_map(services[pending.pop()]).get("depends_on")):
            if name in enabled and name not in needed:
                needed[name] = None
                pending.append(name)
    return list(needed)


def _with_env_files(
    document: Map, needed: Collection[str], environment: Mapping[str, str], warn: Callable[[str], None]
) -> Map:
    """Return a document whose services have the variables and labels of their files."""
    services = Map()
    for name, service, place in as_map(document["services"]).entries():
        resolved = _resolved(name, service, environment, warn) if name in needed else service
        services.put(name, resolved, place)
    result = Map(document.entries())
    result.put("services", services, document.place("services"))
    return result


def _resolved(name: str, service: Map, environment: Mapping[str, str], warn: Callable[[str], None]) -> Map:
    result = Map(entry for entry in service.entries() if entry[0] not in ("env_file", "label_file"))
    variables: dict[str, str] = {}
    for item, place in as_seq(service.get("env_file")).entries():
        path = Path(str(item.get("path")))
        if not path.is_file():
            if text_of(item.get("required", True)) == "true":
                raise wrong(
                    f"services.{name}.env_file: {path} is not there", place, remedy="make it, or say required: false"
                )
            continue
        variables |= read_env_file(path, {**variables, **environment}, warn, form=text_of(item.get("format")))
    labels: dict[str, str] = {}
    for item, place in as_seq(service.get("label_file")).entries():
        path = Path(str(item))
        if not path.is_file():
            raise wrong(f"services.{name}.label_file: {path} is not there", place, remedy="make it")
        labels |= read_env_file(path, environment, warn)
    for key, more in (("environment", variables), ("labels", labels)):
        if more:
            own = as_map(service.get(key))
            at = service.place("env_file" if key == "environment" else "label_file")
            result.put(key, Map([*((k, v, at) for k, v in more.items()), *own.entries()]), at)
    return result


def _project(
    name: str, separator: str, found: Found, document: Map, environment: Mapping[str, str], enabled: Sequence[str]
) -> Project:
    services = {
        key: read_service(key, service, place) for key, service, place in as_map(document["services"]).entries()
    }
    sections: dict[str, Any] = {
        section: _resources(section, as_map(document.get(section)))
        for section in ("networks", "volumes", "secrets", "configs")
    }
    return Project(
        name=name,
        separator=separator,
        directory=found.directory,
        files=found.files,
        environment=environment,
        services={key: service for key, service in services.items() if key in enabled},
        disabled={key: service for key, service in services.items() if key not in enabled},
        document=document,
        **sections,
    )


def _warn_of_owners(project: Project, warn: Callable[[str], None]) -> None:
    """Warn of secrets and configs that are files of this machine: those stay as they are."""
    for service in project.services.values():
        for section, items, resources in (
            ("secrets", service.secrets, project.secrets),
            ("configs", service.configs, project.configs),
        ):
            for item in items:
                resource = resources.get(item.source)
                if resource is not None and resource.file and (item.uid or item.gid or item.mode is not None):
                    text = f"services.{service.name}: {section} `uid`, `gid` and `mode` are ignored"
                    warn(f"{text}: {resource.file} is mounted as it is")


def _resources(section: str, document: Map) -> dict[str, Resource]:
    return {key: read_resource(section, key, value, place) for key, value, place in document.entries()}


__all__ = ["Project", "ProjectOptions", "Service", "load_name", "load_project"]
