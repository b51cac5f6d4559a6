"""Containers in networks: the addresses they are given, and what the process of a network is told of one."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence

from tiffin.builder.containers.container import SHORT_ID_LENGTH, Containers
from tiffin.builder.containers.lifecycle.processes import command_of
from tiffin.builder.containers.lifecycle.record import ContainerRecord
from tiffin.builder.containers.network.attachment import Endpoint
from tiffin.builder.containers.network.bridge.process import socket_path
from tiffin.builder.containers.network.bridge.start import ask_network, hold
from tiffin.builder.containers.network.published import Network
from tiffin.builder.containers.network.store import LOCK, NetworkRecord, Networks
from tiffin.builder.containers.state import ContainerState, process_start
from tiffin.builder.errors import ContainerError, SandboxError, TiffinError
from tiffin.builder.events import Sink, WarningMessage
from tiffin.builder.sandbox.child.spec import Membership, Port
from tiffin.builder.sandbox.isolation import Isolation
from tiffin.cache.foundation.frozen import replace
from tiffin.cache.store.statedir import StateDir

MAX_SERVERS = 3  # that resolv.conf(5) may name


def hold_networks(state: StateDir, names: Sequence[str], isolation: Isolation, sink: Sink) -> int:
    """Have networks run for this process, which is to run a container; return their user namespace.

    Raises SandboxError where this isolation has none.
    """
    id_map = isolation.id_map
    if not isolation.tier.has_namespaces or id_map is None:
        raise SandboxError(
            f"isolation {isolation.tier} has no networks of its own, and so no --network {names[0]}",
            remedy="use --network host or none; tiffin info says how to allow more",
        )
    if id_map.keeps:
        raise SandboxError(
            "--userns keep-id, or the caller's own ids with a mount, and networks with names do not go together",
            remedy="leave -u out, or use --network private",
        )
    networks = Networks(state)
    with state.lock(LOCK):
        return hold(
            state,
            [networks.find(name) for name in names],
            id_map,
            lambda: _companion(state, id_map.tag),
            lambda network: _restore(state, network),
            lambda text: sink.emit(WarningMessage(message=text)),
        )


@contextlib.contextmanager
def assigned(state: StateDir, endpoints: Sequence[Endpoint], *, identity: str = "") -> Iterator[tuple[Endpoint, ...]]:
    """Yield endpoints with addresses that nobody else has, to be written before the block ends.

    Raises UsageError, StoreError.
    """
    if not endpoints:
        yield ()
        return
    networks = Networks(state)
    with state.lock(LOCK):
        others = [other for other in _running(state) if other.id != identity]
        yield tuple(_with_address(item, networks.find(item.wanted.name), others) for item in endpoints)


def _with_address(endpoint: Endpoint, network: NetworkRecord, others: Sequence[ContainerState]) -> Endpoint:
    taken = {
        item.address: state.name for state in others for item in state.networks if item.wanted.name == network.name
    }
    wanted = endpoint.wanted.ip or (endpoint.address if endpoint.address not in taken else "")
    if endpoint.wanted.ip:
        network.check_address(wanted)
        if wanted in taken:
            raise ContainerError(f"Address already in use: {wanted} of network {network.name} has {taken[wanted]}")
    address = wanted or network.free_address(taken)
    mac = endpoint.wanted.mac or ":".join(f"{number:02x}" for number in (2, 0x42, *map(int, address.split("."))))
    return replace(endpoint, address=address, mac_address=mac)


def network_with_members(
    network: Network, state: StateDir, container: ContainerState, servers: Sequence[str]
) -> Network:
    """Return the network of a container with those that have names, which its sandbox is attached to."""
    if not container.networks:
        return network
    networks = Networks(state)
    records = [networks.find(item.wanted.name) for item in container.networks]
    outward = next((record.name for record in records if not record.is_internal), "")
    memberships = []
    for endpoint, record in zip(container.networks, records, strict=True):
        request = json.dumps(attach_request(container, endpoint, servers))
        ports: tuple[Port, ...] = network.ports if record.name == outward else ()
        path = os.fspath(socket_path(networks.folder, record.name))
        memberships.append(Membership(socket=path, request=request, ports=ports))
    return replace(
        network,
        memberships=tuple(memberships),
        addresses=tuple(item.address for item in container.networks),
        servers=tuple(record.gateway for record in records)[:MAX_SERVERS],
    )


def attach_request(container: ContainerState, endpoint: Endpoint, servers: Sequence[str]) -> dict[str, object]:
    """Return what the process of a network is told to attach a container."""
    names = (container.name, *endpoint.wanted.aliases, container.id[:SHORT_ID_LENGTH])
    return {
        "do": "attach",
        "id": container.id,
        "pid": container.pid,
        "address": endpoint.address,
        "mac": endpoint.mac_address,
        "names": list(dict.fromkeys(names)),
        "networks": [item.wanted.name for item in container.networks if item is not endpoint],
        "servers": list(servers),
    }


def plug(state: StateDir, container: ContainerState, endpoint: Endpoint) -> None:
    """Attach a container that runs, to a network that runs; what it publishes is listened at again.

    Raises SandboxError, StoreError.
    """
    record = ContainerRecord.read(Containers(state).folder(container.id))
    request = attach_request(container, endpoint, record.options.resolver.servers)
    ask_network(state, endpoint.wanted.name, {**request, "process": command_of(container)})


def _running(state: StateDir) -> list[ContainerState]:
    """Return the containers that run in networks."""
    containers = Containers(state)
    return [item for item in containers.states() if item.networks and containers.is_alive(item.id)]


def _companion(state: StateDir, id_map: str) -> int:
    """Return the process of a container that runs in a network, 0 where there is none."""
    containers = Containers(state)
    for item in _running(state):
        with contextlib.suppress(TiffinError):
            is_like = ContainerRecord.read(containers.folder(item.id)).id_map == id_map
            if is_like and item.pid != os.getpid() and process_start(item.pid) == item.pid_started:
                return item.pid
    return 0


def _restore(state: StateDir, network: NetworkRecord) -> None:
    """Attach the containers again whose network was killed."""
    for container in _running(state):
        for endpoint in container.networks:
            if endpoint.wanted.name == network.name and container.pid != os.getpid():
                with contextlib.suppress(TiffinError):  # it ends just now
                    plug(state, container, endpoint)
