"""Containers in networks: the addresses they are given, and what the process of a network is told of one."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tiffin.builder.containers.confinement.spec import own_names
from tiffin.builder.containers.container import SHORT_ID_LENGTH, Containers
from tiffin.builder.containers.lifecycle.processes import command_of
from tiffin.builder.containers.lifecycle.record import ContainerRecord
from tiffin.builder.containers.network.attachment import Endpoint
from tiffin.builder.containers.network.bridge.process import socket_path
from tiffin.builder.containers.network.bridge.start import ask_network, connect_network, hold, namespace_of
from tiffin.builder.containers.network.published import Network
from tiffin.builder.containers.network.store import LOCK, AddressPool, NetworkRecord, Networks, mac_of
from tiffin.builder.containers.state import ContainerState, process_start
from tiffin.builder.errors import ContainerError, SandboxError, TiffinError
from tiffin.builder.events import Sink, WarningMessage
from tiffin.builder.sandbox.child.join import NS_GET_PARENT
from tiffin.builder.sandbox.child.network.name_files import own_lines
from tiffin.builder.sandbox.child.spec import Membership, Port
from tiffin.builder.sandbox.isolation import Isolation
from tiffin.builder.sandbox.keepid import base_tag
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
    base = id_map.base or id_map
    networks = Networks(state)
    with state.lock(LOCK):
        return hold(
            state,
            [networks.find(name) for name in names],
            base,
            lambda: _companion(state, base.tag),
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
        address: state.name
        for state in others
        for item in state.networks
        if item.wanted.name == network.name
        for address in item.addresses
    }
    wanted = endpoint.wanted
    network.check_addresses(wanted.ip, wanted.ip6)
    address = _chosen(network, network.ipv4, wanted.ip, endpoint.address, taken)
    address6 = _chosen(network, network.ipv6, wanted.ip6, endpoint.address6, taken)
    return replace(endpoint, address=address, address6=address6, mac_address=wanted.mac or mac_of(address))


def _chosen(network: NetworkRecord, pool: AddressPool | None, asked: str, before: str, taken: Mapping[str, str]) -> str:
    """Return the address that is asked for, the one of before if it is free, or another; "" where none are given."""
    if pool is None:
        return ""
    if asked:
        asked = _plain(asked)
        if asked in taken:
            raise ContainerError(f"Address already in use: {asked} of network {network.name} has {taken[asked]}")
    return asked or (before if before not in taken else "") or pool.free_address(taken, network.name)


def _plain(address: str) -> str:
    """Return the shortest way to write an address."""
    from ipaddress import ip_address

    return str(ip_address(address))


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
        addresses=tuple(address for item in container.networks for address in item.addresses),
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
        "address6": endpoint.address6,
        "mac": endpoint.mac_address,
        "names": list(dict.fromkeys(names)),
        "networks": [item.wanted.name for item in container.networks if item is not endpoint],
        "servers": list(servers),
    }


def connect(state: StateDir, container: ContainerState, endpoint: Endpoint, network: NetworkRecord, sink: Sink) -> None:
    """Attach a container that runs in other networks to one more. Raises TiffinError."""
    containers = Containers(state)
    record = ContainerRecord.read(containers.folder(container.id))
    with state.lock(LOCK):
        others = [other for other in _running(state) if other.id != container.id]
        endpoint = _with_address(endpoint, network, others)
        hold(
            state,
            [network],
            base_tag(record.id_map),
            lambda: _namespace_around(container, record),
            lambda killed: _restore(state, killed),
            lambda text: sink.emit(WarningMessage(message=text)),
        )
        before = container.networks
        container = containers.change(container, networks=(*before, endpoint))
        plug(state, container, endpoint)
        _change_files(state, container, before)
    tell_networks(state, container)


def disconnect(state: StateDir, container: ContainerState, name: str) -> None:
    """Detach a container that runs from a network. Raises TiffinError."""
    with state.lock(LOCK):
        left = tuple(item for item in container.networks if item.wanted.name != name)
        before = container.networks
        container = Containers(state).change(container, networks=left)
        was_outward = _outward(state, before) == name
        ask_network(state, name, {"do": "detach", "id": container.id})
        _change_files(state, container, before)
        outward = _outward(state, left)
        if outward:
            ask_network(state, outward, {"do": "route", "process": command_of(container)})
            if was_outward:  # what is published goes by this network now, as in docker
                _publish(state, container, outward, at_once=True)
    tell_networks(state, container)


def _outward(state: StateDir, endpoints: Sequence[Endpoint]) -> str:
    """Return the first network that leads outside, by which is published; "" for none."""
    for item in endpoints:
        with contextlib.suppress(TiffinError):  # a network that is gone
            if not Networks(state).find(item.wanted.name).is_internal:
                return item.wanted.name
    return ""


def _publish(state: StateDir, container: ContainerState, name: str, *, at_once: bool) -> None:
    """Listen again at what a container publishes; not `at_once`: when it is attached next."""
    from tiffin.builder.sandbox.child.network.membership import publish

    line = connect_network(state, name) if container.ports else None
    if line is not None:
        with line, contextlib.suppress(OSError):  # a port may be another's by now
            publish(line, container.id, container.ports, at_once=at_once)


def leave(state: StateDir, container: ContainerState) -> None:
    """Detach a container that has ended: its ports are free when that is told, not a moment later."""
    for item in container.networks:
        with contextlib.suppress(TiffinError):
            ask_network(state, item.wanted.name, {"do": "detach", "id": container.id})


def _change_files(state: StateDir, container: ContainerState, before: Sequence[Endpoint]) -> None:
    """Have a container's resolv.conf name the servers of the networks that it is in now, if it names those of before,
    and its hosts its addresses there.

    They are written in place, as the container has them mounted.
    """
    folder = Containers(state).folder(container.id)
    old, new = (_server_lines(state, endpoints) for endpoints in (before, container.networks))
    _replace_lines(folder / "run" / "resolv_conf", old, new)
    options = ContainerRecord.read(folder).options
    names = own_names(options.hostname or container.id[:SHORT_ID_LENGTH], options)
    old, new = (
        own_lines(names, [text for item in items for text in item.addresses]) for items in (before, container.networks)
    )
    _replace_lines(folder / "run" / "hosts", old, new, at_end=True)


def _replace_lines(path: Path, old: Sequence[str], new: Sequence[str], *, at_end: bool = False) -> None:
    """Write `new` lines in the place of `old` ones; a file that has none of these was changed by the container."""
    with contextlib.suppress(OSError):
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines(keepends=True)
        others = [line for line in lines if line not in old]
        if len(others) < len(lines):
            both = [*others, *new] if at_end else [*new, *others]
            path.write_text("".join(both), encoding="utf-8", errors="surrogateescape")


def _server_lines(state: StateDir, endpoints: Sequence[Endpoint]) -> list[str]:
    found = []
    for item in endpoints:
        with contextlib.suppress(TiffinError):  # a network that is gone
            found.append(f"nameserver {Networks(state).find(item.wanted.name).gateway}\n")
    return found[:MAX_SERVERS]


def tell_networks(state: StateDir, container: ContainerState) -> None:
    """Tell each network of a container that runs its names, and which others it is in: their names it may ask for."""
    for endpoint in container.networks:
        request = attach_request(container, endpoint, ())
        known = {key: request[key] for key in ("id", "names", "networks")}
        ask_network(state, endpoint.wanted.name, {"do": "know", **known})


def plug(state: StateDir, container: ContainerState, endpoint: Endpoint) -> None:
    """Attach a container that runs, to a network that runs; what it publishes there is listened at again.

    Raises SandboxError, StoreError.
    """
    record = ContainerRecord.read(Containers(state).folder(container.id))
    name = endpoint.wanted.name
    if name == _outward(state, container.networks):
        _publish(state, container, name, at_once=False)
    request = attach_request(container, endpoint, record.options.resolver.servers)
    ask_network(state, name, {**request, "process": command_of(container)})


def _running(state: StateDir) -> list[ContainerState]:
    """Return the containers that run in networks."""
    containers = Containers(state)
    return [item for item in containers.states() if item.networks and containers.is_alive(item.id)]


def _companion(state: StateDir, id_map: str) -> int:
    """Return the user namespace of a container that runs in a network, -1 where there is none."""
    containers = Containers(state)
    for item in _running(state):
        with contextlib.suppress(TiffinError):
            record = ContainerRecord.read(containers.folder(item.id))
            is_like = base_tag(record.id_map) == id_map
            if is_like and item.pid != os.getpid() and process_start(item.pid) == item.pid_started:
                return _namespace_around(item, record)
    return -1


def _namespace_around(container: ContainerState, record: ContainerRecord) -> int:
    """Return the user namespace that a container has with others: the one around its own, where that keeps ids."""
    own = namespace_of(container.pid)
    if own < 0 or record.id_map == base_tag(record.id_map):
        return own
    try:
        return fcntl.ioctl(own, NS_GET_PARENT)
    finally:
        os.close(own)


def _restore(state: StateDir, network: NetworkRecord) -> None:
    """Attach the containers again whose network was killed."""
    for container in _running(state):
        for endpoint in container.networks:
            if endpoint.wanted.name == network.name and container.pid != os.getpid():
                with contextlib.suppress(TiffinError):  # it ends just now
                    plug(state, container, endpoint)
