"""What the services of a project share: networks, volumes, and the files of secrets and configs."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from tiffin.builder.api.compose import naming
from tiffin.builder.api.compose.converge import remove
from tiffin.builder.api.compose.images import check_refused
from tiffin.builder.api.compose.jobs import Job, run_jobs
from tiffin.builder.api.compose.members import members
from tiffin.builder.api.containers import lifecycle
from tiffin.builder.api.networks import (
    NetworkOptions,
    create_network,
    disconnect,
    exists_network,
    list_networks,
    remove_network,
)
from tiffin.builder.api.session import Session
from tiffin.builder.api.volumes import create_volume, exists_volume, list_volumes, remove_volume
from tiffin.builder.compose.model.values import FileMount, Project, Resource, Service
from tiffin.builder.compose.places import wrong
from tiffin.builder.errors import TiffinError
from tiffin.builder.events import ResourceChanged, Sink, WarningMessage
from tiffin.cache.foundation.files import disk_errors, remove_tree

FOLDER_MODE, FILE_MODE = 0o711, 0o444


def make_resources(
    project: Project,
    services: Collection[Service],
    session: Session,
    sink: Sink,
    *,
    unused: bool = False,
    replaces_volumes: bool = False,
) -> None:
    """Make what services use and is not there; `unused`: also what no service uses. A network that is not as the files
    say is made anew, a volume only where it `replaces_volumes`, as its data is lost. Raises TiffinError.
    """
    keys = {mount.source for service in services for mount in service.mounts if mount.kind == "volume"}
    volumes = [resource for key, resource in project.volumes.items() if unused or key in keys]
    used = {key for service in services for key in service.networks}
    networks = [one for key, one in project.networks.items() if unused or key in used]
    check_refused([*networks, *volumes])
    jobs = [Job(key=f"network {one.key}", do=_network_maker(project, one)) for one in networks]
    jobs += [Job(key=f"volume {one.key}", do=_volume_maker(project, one, replaces=replaces_volumes)) for one in volumes]
    if jobs:
        run_jobs(jobs, session, sink)


def _network_maker(project: Project, network: Resource) -> Callable[[Session, Sink], Any]:
    def make(session: Session, sink: Sink) -> None:
        if exists_network(network.name, session):
            if network.external:
                return
            labels = next((one.labels for one in list_networks(session) if one.name == network.name), {})
            if not _differs(project, network, labels):
                return
            _leave_network(project, network.name, session, sink)
        if network.external:
            raise wrong(
                f"network {network.name} declared as external, but could not be found",
                network.place,
                remedy=f"make it with tiffin network create {network.name}",
            )
        options = NetworkOptions(
            subnets=network.subnets,
            gateways=network.gateways,
            address_ranges=network.address_ranges,
            has_ipv6=network.has_ipv6,
            is_internal=network.internal,
            options=network.options,
        )
        labels = naming.resource_labels(project, network, naming.NETWORK)
        create_network(network.name, session, options, labels=labels)
        sink.emit(ResourceChanged(kind="Network", name=network.name, change="Created"))

    return make


def _differs(project: Project, resource: Resource, labels: Mapping[str, str]) -> bool:
    """Whether a network or volume of the project was made with other than what the files say."""
    return labels.get(naming.PROJECT) == project.name and labels.get(naming.HASH, "") not in (
        "",
        naming.resource_hash(resource),
    )


def _leave_network(project: Project, name: str, session: Session, sink: Sink) -> None:
    """Remove a network; containers of the project that are on it stop, and leave it. Raises TiffinError."""
    for member in members(session, project.name, one_off=None):
        if any(one.wanted.name == name for one in member.state.networks):
            if member.is_alive:
                lifecycle.stop(member.state.id, session)
                sink.emit(ResourceChanged(kind="Container", name=member.name, change="Stopped"))
            disconnect(name, member.state.id, session)
    remove_network(name, session)
    sink.emit(ResourceChanged(kind="Network", name=name, change="Removed"))


def remove_networks(project: str, session: Session, sink: Sink) -> None:
    """Remove the networks of a project; those that others are in stay."""
    for network in list_networks(session):
        if network.labels.get(naming.PROJECT) != project:
            continue
        try:
            remove_network(network.name, session)
        except TiffinError:
            sink.emit(ResourceChanged(kind="Network", name=network.name, change="Resource is still in use"))
        else:
            sink.emit(ResourceChanged(kind="Network", name=network.name, change="Removed"))


def _volume_maker(project: Project, volume: Resource, *, replaces: bool) -> Callable[[Session, Sink], Any]:
    def make(session: Session, sink: Sink) -> None:
        if exists_volume(volume.name, session):
            if volume.external or not _is_other_volume(project, volume, session, sink):
                return
            if not replaces:
                text = f'volume "{volume.name}" is not as the files say, and is kept; up -y makes it anew, empty'
                sink.emit(WarningMessage(message=text))
                return
            _leave_volume(project, volume.name, session, sink)
        if volume.external:
            raise wrong(
                f'external volume "{volume.name}" not found',
                volume.place,
                remedy=f"make it with tiffin volume create {volume.name}",
            )
        labels = naming.resource_labels(project, volume, naming.VOLUME)
        create_volume(volume.name, session, labels=labels, driver=volume.driver, options=volume.options)
        sink.emit(ResourceChanged(kind="Volume", name=volume.name, change="Created"))

    return make


def _leave_volume(project: Project, name: str, session: Session, sink: Sink) -> None:
    """Remove a volume, and the containers of the project that have it. Raises TiffinError."""
    for member in members(session, project.name, one_off=None):
        if name in member.state.volumes.values():
            lifecycle.stop(member.state.id, session)
            remove(member.state, session)
            sink.emit(ResourceChanged(kind="Container", name=member.name, change="Removed"))
    remove_volume(name, session)
    sink.emit(ResourceChanged(kind="Volume", name=name, change="Removed"))


def _is_other_volume(project: Project, volume: Resource, session: Session, sink: Sink) -> bool:
    """Whether a volume was made with other than what the files say; warn of one that something else made."""
    found = next(one.volume for one in list_volumes(session) if one.volume.name == volume.name)
    owner = found.labels.get(naming.PROJECT, "")
    if owner != project.name:
        whose = f'was created for project "{owner}"' if owner else "was not created by compose"
        text = f'volume "{volume.name}" already exists but {whose}; use `external: true` to use an existing volume'
        sink.emit(WarningMessage(message=text))
    return _differs(project, volume, found.labels)


def remove_volumes(project: str, session: Session, sink: Sink, anonymous: Iterable[str] = ()) -> None:
    """Remove the volumes that are of a project, and those without a name that its containers had."""
    mine = [one.volume.name for one in list_volumes(session) if one.volume.labels.get(naming.PROJECT) == project]
    for name in [*mine, *anonymous]:
        try:
            remove_volume(name, session)
        except TiffinError as exc:
            sink.emit(WarningMessage(message=exc.message))
        else:
            sink.emit(ResourceChanged(kind="Volume", name=name, change="Removed"))


# -- files of secrets and configs --------------------------------------------------------------------------------------


def file_mounts(project: Project, service: Service, session: Session) -> list[tuple[str, str]]:
    """Return the file of this machine for each secret and config of a service, and where it is to be seen.

    Raises ComposeError.
    """
    found = []
    for section, items, resources in (
        ("secrets", service.secrets, project.secrets),
        ("configs", service.configs, project.configs),
    ):
        for item in items:
            resource = resources[item.source]
            check_refused([resource])
            if not resource.file and {item.uid, item.gid} - {"", "0"}:
                raise wrong(
                    f"services.{service.name}.{section}: {item.source} has uid and gid, which are not supported: "
                    "the file belongs to root",
                    service.place,
                    remedy="leave them out, and set mode: 0444",
                )
            found.append((_file(project, section, resources[item.source], item, session), item.target))
    return found


def _file(project: Project, section: str, resource: Resource, item: FileMount, session: Session) -> str:
    if resource.file:
        if not os.path.exists(resource.file):  # noqa: PTH110
            raise wrong(f"{section}.{resource.key}: {resource.file} is not there", resource.place, remedy="make it")
        return resource.file
    text = resource.content
    if text is None:
        text = project.environment.get(resource.variable)
    if text is None:
        raise wrong(
            f"{section}.{resource.key}: the variable {resource.variable} is not set",
            resource.place,
            remedy=f"set {resource.variable}",
        )
    mode = FILE_MODE if item.mode is None else item.mode
    return str(_written(files_folder(session, project.name), f"{section}-{resource.key}-{mode:o}", text, mode))


def files_folder(session: Session, project: str) -> Path:
    """Return where the files of a project's secrets and configs are that come from texts."""
    return session.state.mounts / "compose" / project


def _written(folder: Path, name: str, text: str, mode: int) -> Path:
    path = folder / name
    data = text.encode("utf-8", "surrogateescape")
    with disk_errors(path):
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        if path.exists() and path.read_bytes() == data:
            return path
        fresh = folder / f".{name}-{os.getpid()}"
        fresh.write_bytes(data)
        fresh.chmod(mode)
        fresh.replace(path)  # a container that runs keeps the file that it has
    return path


def remove_files(session: Session, project: str) -> None:
    """Remove these files."""
    with disk_errors(files_folder(session, project)):
        remove_tree(files_folder(session, project))
