"""Volumes: directories that containers share and that outlive them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import FOLDERS_LOCK, Containers
from tiffin.builder.containers.mounts import VOLUME_NAME
from tiffin.builder.containers.volumes.store import ANONYMOUS_LABEL, Volume, Volumes, check_options, new_name
from tiffin.builder.errors import ContainerError, NotFoundError, UsageError
from tiffin.builder.options import has_labels
from tiffin.builder.plain_text import rfc3339
from tiffin.cache.foundation.frozen import dataclass

DRIVER = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedVolume:
    """A volume, where its files are, and the ids of the containers that have it."""

    volume: Volume
    place: str
    users: tuple[str, ...]


def create_volume(
    name: str,
    session: Session,
    *,
    labels: Mapping[str, str] | None = None,
    driver: str = DRIVER,
    options: Mapping[str, str] | None = None,
) -> Volume:
    """Make a volume, empty until a container fills it; one that is there is fine. "" makes up a name.

    Raises UsageError.
    """
    if driver not in (DRIVER, ""):
        raise UsageError(f'create {name}: volume driver "{driver}" is not found', remedy="leave --driver out")
    if name and not re.fullmatch(VOLUME_NAME, name):
        raise UsageError(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed',
            remedy="use two or more of these, or give a path to run -v",
        )
    labels = dict(labels or {}) if name else {ANONYMOUS_LABEL: "", **(labels or {})}
    wanted = check_options(name, dict(options or {}))
    volumes = Volumes(session.state)
    with session.state.lock(FOLDERS_LOCK):
        volume = volumes.note(name or new_name(), labels, wanted)
        if not volume.options:
            volumes.make(volume)
        elif wanted and wanted != volume.options:
            raise ContainerError(
                f"create {name}: a volume of that name has other options",
                remedy=f"remove it with tiffin volume rm {name}",
            )
    return volume


def list_volumes(session: Session) -> list[ListedVolume]:
    """Return all volumes, by name; those of one container have names that were made up."""
    users = _users(session)
    volumes = Volumes(session.state)
    return [
        ListedVolume(volume=volume, place=os.fspath(volumes.place(volume)), users=tuple(users.get(volume.name, ())))
        for volume in volumes.list()
    ]


def inspect_volume(name: str, session: Session) -> dict[str, object]:
    """Return docker's document of a volume. Raises NotFoundError."""
    volumes = Volumes(session.state)
    volume = volumes.find(name)
    return {
        "CreatedAt": rfc3339(int(volume.created)),
        "Driver": DRIVER,
        "Labels": dict(volume.labels) or None,
        "Mountpoint": os.fspath(volumes.place(volume)),
        "Name": volume.name,
        "Options": dict(volume.options) or None,
        "Scope": "local",
    }


def remove_volume(name: str, session: Session) -> None:
    """Remove a volume that no container has. Raises NotFoundError, ContainerError."""
    volumes = Volumes(session.state)
    volume = volumes.find(name)
    _reach(session)
    with session.state.lock(FOLDERS_LOCK):
        users = _users(session).get(volume.name)
        if users:
            raise ContainerError(
                f"remove {name}: volume is in use - [{', '.join(users)}]", remedy="remove these containers first"
            )
        volumes.remove(volume.name)


def prune_volumes(session: Session, *, everything: bool = False, labels: Sequence[str] = ()) -> list[str]:
    """Remove the anonymous volumes that no container has, with `everything` named ones, too; return their names.

    `labels`: only those that have all of NAME or NAME=VALUE.
    """
    volumes = Volumes(session.state)
    wanted = [volume for volume in volumes.list() if everything or volume.is_anonymous]
    if not wanted:
        return []
    _reach(session)
    with session.state.lock(FOLDERS_LOCK):
        users = _users(session)
        gone = [volume.name for volume in wanted if volume.name not in users and has_labels(volume.labels, labels)]
        for name in gone:
            volumes.remove(name)
    return gone


def exists_volume(name: str, session: Session) -> bool:
    """Tell whether there is a volume of that name."""
    try:
        Volumes(session.state).find(name)
    except NotFoundError:
        return False
    return True


def _users(session: Session) -> dict[str, list[str]]:
    """Return the ids of the containers that have each volume."""
    found: dict[str, list[str]] = {}
    for state in Containers(session.state).states():
        for name in sorted(set(state.volumes.values())):
            found.setdefault(name, []).append(state.id)
    return found


def _reach(session: Session) -> None:
    """Enter the namespace of their files."""
    session.isolate(None)
