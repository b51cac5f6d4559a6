"""Pause a container, and let it go on."""

from __future__ import annotations

import contextlib

from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.lifecycle.events import record_of_container
from tiffin.builder.containers.lifecycle.freezer import freeze, thaw
from tiffin.builder.containers.lifecycle.processes import processes_of
from tiffin.builder.containers.state import ContainerState
from tiffin.builder.errors import ContainerError, StoreError
from tiffin.builder.events import Sink, WarningMessage

STOPPED = "no control group of the container can be frozen here: its processes were stopped one by one (SIGSTOP)"


def pause(name: str, session: Session, sink: Sink) -> None:
    """Freeze all processes of a container. Raises ContainerError, StoreError."""
    containers = Containers(session.state)
    state = containers.find_running(name)
    if state.is_paused:
        raise ContainerError(f"Container {state.name} is already paused", remedy=f"tiffin unpause {state.name}")
    changed = containers.change(state, is_paused=True)  # first: no check of its health is begun then
    if not freeze(containers.groups(state.id), lambda: processes_of(state)):
        sink.emit(WarningMessage(message=STOPPED))
    record_of_container(session.state, changed, "pause")


def unpause(name: str, session: Session) -> None:
    """Let a container go on that was paused. Raises ContainerError, StoreError."""
    containers = Containers(session.state)
    state = containers.find_running(name)
    if not state.is_paused:
        raise ContainerError(f"Container {state.name} is not paused", remedy="see tiffin ps")
    go_on(containers, state, session)


def go_on(containers: Containers, state: ContainerState, session: Session) -> None:
    """Do so, if it is paused. One that has ended meanwhile is fine."""
    if state.is_paused:
        with contextlib.suppress(StoreError):
            thaw(containers.groups(state.id), lambda: processes_of(state))
            changed = containers.change(state, is_paused=False)
            record_of_container(session.state, changed, "unpause")
