"""--link: another container has a name in this one's hosts file."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.lifecycle.record import ContainerRecord
from tiffin.builder.containers.state import ContainerState
from tiffin.builder.errors import ContainerError, UsageError
from tiffin.cache.store.statedir import StateDir

LOOPBACK = "127.0.0.1"


def linked(
    state: StateDir, container: ContainerState, kind: str, links: Sequence[tuple[str, str]]
) -> tuple[tuple[str, str], ...]:
    """Return the names of other containers with their addresses; `kind` is that of this one's network.

    Raises ContainerError, UsageError.
    """
    return tuple(
        (name, address) for other, alias in links for name, address in _names(state, container, kind, other, alias)
    )


def _names(state: StateDir, container: ContainerState, kind: str, name: str, alias: str) -> list[tuple[str, str]]:
    containers = Containers(state)
    other = containers.find(name)
    if not containers.is_alive(other.id):
        raise ContainerError(
            f"Cannot link to a non running container: /{other.name} AS /{container.name}/{alias}",
            remedy=f"start it with tiffin start {other.name}",
        )
    own = {item.wanted.name for item in container.networks}
    address = next((item.address for item in other.networks if item.wanted.name in own), "")
    if kind == "host" and ContainerRecord.read(containers.folder(other.id)).options.network == "host":
        address = LOOPBACK  # both have the machine's network
    if not address:
        raise UsageError(
            f"--link {name}:{alias}: the containers have no network in common",
            remedy="make one with tiffin network create, and give --network to both",
        )
    return [(text, address) for text in dict.fromkeys((alias, other.name))]
