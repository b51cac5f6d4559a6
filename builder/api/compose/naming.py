"""How what belongs to a project is called and labelled: docker's names."""

from __future__ import annotations

import hashlib
import json

from tiffin.builder.compose.model.values import Project, Resource, Service

COMPOSE_VERSION = "2.40.3"  # of docker compose, whose behaviour this is
_PREFIX = "com.docker.compose"
PROJECT, SERVICE, NUMBER = f"{_PREFIX}.project", f"{_PREFIX}.service", f"{_PREFIX}.container-number"
ONE_OFF, HASH, VERSION = f"{_PREFIX}.oneoff", f"{_PREFIX}.config-hash", f"{_PREFIX}.version"
IMAGE, DEPENDS = f"{_PREFIX}.image", f"{_PREFIX}.depends_on"
DIRECTORY, FILES = f"{_PREFIX}.project.working_dir", f"{_PREFIX}.project.config_files"
NETWORK, VOLUME = f"{_PREFIX}.network", f"{_PREFIX}.volume"
_NOT_OF_CONTAINERS = ("build", "depends_on", "deploy.replicas", "develop", "profiles", "pull_policy", "scale")


def image_of(project: Project, service: Service) -> str:
    """Return the name of a service's image; one that is built and has none gets one."""
    return service.image or f"{project.name}{project.separator}{service.name}"


def container_name(project: Project, service: Service, number: int) -> str:
    """Return the name of the container of that number."""
    return service.container_name or project.separator.join((project.name, service.name, str(number)))


def config_hash(project: Project, service: Service) -> str:
    """Return a digest of all that a container of the service is made with."""
    document = {key: value for key, value in service.document.items() if key not in _NOT_OF_CONTAINERS}
    if isinstance(document.get("deploy"), dict):
        document["deploy"] = {key: value for key, value in document["deploy"].items() if key != "replicas"}
    for section, resources in (("secrets", project.secrets), ("configs", project.configs)):
        keys = [item.source for item in (service.secrets if section == "secrets" else service.configs)]
        contents = [_content(project, resources[key]) for key in keys if key in resources]
        if contents:
            document[f"{section} contents"] = contents
    mounted = {mount.source for mount in service.mounts if mount.kind == "volume"}
    document["volumes on this machine"] = {key: one.name for key, one in project.volumes.items() if key in mounted}
    document["networks on this machine"] = {
        key: [one.name, resource_hash(one)] for key, one in project.networks.items() if key in service.networks
    }
    return _hash(document)


def resource_hash(resource: Resource) -> str:
    """Return a digest of all that a network or a volume is made with."""
    made_with = [resource.driver, dict(resource.options), dict(resource.labels)]
    gateway, *gateways = resource.gateways or ("",)
    more: list[object] = [gateways, resource.address_ranges, resource.has_ipv6]  # left out as by earlier versions
    return _hash([*made_with, resource.internal, resource.subnets, gateway, *(more if any(more) else ())])


def _hash(document: object) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _content(project: Project, resource: Resource) -> str:
    """Return what a secret or a config holds, where it is not a file that is mounted as it is."""
    text = resource.content if resource.content is not None else project.environment.get(resource.variable, "")
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest() if not resource.file else ""


def container_labels(
    project: Project, service: Service, number: int, image_id: str, *, one_off: bool
) -> dict[str, str]:
    """Return the labels of a container: the service's own, and docker's."""
    depends = (f"{name}:{one.condition}:{str(one.restart).lower()}" for name, one in service.depends_on.items())
    return {
        **service.labels,
        PROJECT: project.name,
        SERVICE: service.name,
        NUMBER: str(number),
        ONE_OFF: str(one_off),
        HASH: config_hash(project, service),
        VERSION: COMPOSE_VERSION,
        IMAGE: image_id,
        DEPENDS: ",".join(depends),
        DIRECTORY: project.directory,
        FILES: ",".join(project.files),
    }


def resource_labels(project: Project, resource: Resource, kind: str) -> dict[str, str]:
    """Return the labels of a network or a volume."""
    own = {PROJECT: project.name, kind: resource.key, VERSION: COMPOSE_VERSION, HASH: resource_hash(resource)}
    return {**resource.labels, **own}
