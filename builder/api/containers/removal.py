"""Remove a container, in the namespace of its files where that is needed."""

from __future__ import annotations

from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.state import ContainerState
from tiffin.builder.errors import StoreError


def remove_container(containers: Containers, state: ContainerState, session: Session, *, volumes: bool = False) -> None:
    """Remove a container that is not running, with `volumes` those whose names were made up for it, too.

    Most have no files of other owners: these are removed from here, and a namespace is entered for others alone. Raises
    ContainerError, StoreError.
    """
    if not (volumes and state.volumes):
        try:
            containers.remove(state)
        except StoreError:  # files of others, as far as can be told
            pass
        else:
            return
    session.isolate(None)
    containers.remove(state, volumes=volumes)
