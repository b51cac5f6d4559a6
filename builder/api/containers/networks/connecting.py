"""network connect and disconnect, for containers that run and those that do not."""

from __future__ import annotations

from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.lifecycle.events import NETWORK, record_event
from tiffin.builder.containers.lifecycle.record import ContainerRecord
from tiffin.builder.containers.network.attachment import NetworkAttachment, new_endpoints
from tiffin.builder.containers.network.store import NetworkRecord, Networks
from tiffin.builder.containers.run import NAMED
from tiffin.builder.containers.state import ContainerState
from tiffin.builder.errors import ContainerError, NotFoundError
from tiffin.builder.events import Sink
from tiffin.cache.foundation.frozen import replace


def connect(name: str, attachment: NetworkAttachment, session: Session, sink: Sink) -> None:
    """Attach a container to a network; one that does not run is attached when it starts. Raises TiffinError."""
    containers = Containers(session.state)
    network = Networks(session.state).find(attachment.name)
    state = containers.find(name)
    attachment = replace(attachment, name=network.name)
    if network.is_predefined:
        raise ContainerError(
            f"container cannot be connected to network {network.name}: it is not a network of containers",
            remedy="make one with tiffin network create",
        )
    if any(item.wanted.name == network.name for item in state.networks):
        raise ContainerError(
            f"endpoint with name {state.name} already exists in network {network.name}", remedy="it is connected"
        )
    network.check_addresses(attachment.ip, attachment.ip6)
    (endpoint,) = new_endpoints([attachment])
    if not containers.is_alive(state.id):
        _note_named(containers, state)
        containers.change(state, networks=(*state.networks, endpoint), network=NAMED)
    elif state.network != NAMED:
        raise ContainerError(
            f"container {state.name} runs with {_kind(state)}, and no network can be added to that",
            remedy=f"begin it with --network {network.name}, or stop it first",
        )
    else:
        from tiffin.builder.containers.network.members import connect

        connect(session.state, state, endpoint, network, sink)
    _record(session, network, state, "connect")


def _kind(state: ContainerState) -> str:
    return "this machine's network" if state.network == "host" else f"network {state.network}"


def _note_named(containers: Containers, state: ContainerState) -> None:
    """Have a container that does not run begin in networks with names."""
    record = ContainerRecord.read(containers.folder(state.id))
    options = record.options
    if options.network not in (NAMED, "private") and (options.network != "host" or options.as_machine):
        raise ContainerError(
            f"container {state.name} has the network {options.network}, and no other can be added to that",
            remedy="make it again without --network",
        )
    replace(record, options=replace(options, network=NAMED)).write(containers.folder(state.id))


def disconnect(name: str, container: str, session: Session, *, force: bool = False) -> None:
    """Detach a container from a network; with `force` that may be gone. Raises TiffinError."""
    containers = Containers(session.state)
    state = containers.find(container)
    try:
        network = Networks(session.state).find(name)
    except NotFoundError:
        if not force:
            raise
        network = NetworkRecord(name=name, id="", created=0.0)
    if not any(item.wanted.name == network.name for item in state.networks):
        raise ContainerError(
            f"container {state.id} is not connected to network {network.name}", remedy="see tiffin network inspect"
        )
    if containers.is_alive(state.id):
        from tiffin.builder.containers.network.members import disconnect

        disconnect(session.state, state, network.name)
    else:
        containers.change(state, networks=tuple(item for item in state.networks if item.wanted.name != network.name))
    _record(session, network, state, "disconnect")


def _record(session: Session, network: NetworkRecord, state: ContainerState, action: str) -> None:
    members = {"container": state.id, "name": network.name, "type": "bridge"}
    record_event(session.state, NETWORK, action, network.id, members)
