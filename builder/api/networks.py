"""Networks that containers share and reach each other in, by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.lifecycle.events import NETWORK, record_event
from tiffin.builder.containers.network.store import LOCK, NAME, NetworkRecord, Networks, new_network
from tiffin.builder.containers.state import ContainerState
from tiffin.builder.errors import ContainerError, UsageError
from tiffin.builder.options import has_labels
from tiffin.builder.plain_text import rfc3339
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Network

    from tiffin.builder.containers.network.attachment import NetworkAttachment
    from tiffin.builder.events import Sink

BRIDGE = "bridge"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions:
    """What is asked of a network; empty values leave the choice open. `options` are the driver's, kept and shown."""

    driver: str = BRIDGE
    subnet: str = ""
    gateway: str = ""
    address_range: str = ""
    is_internal: bool = False
    is_attachable: bool = False
    options: Mapping[str, str] | None = None


def create_network(
    name: str,
    session: Session,
    options: NetworkOptions | None = None,
    *,
    labels: Mapping[str, str] | None = None,
) -> NetworkRecord:
    """Make a network; nothing runs for it while no container is attached. Raises UsageError, ContainerError."""
    options = options or NetworkOptions()
    if not re.fullmatch(NAME, name):
        raise UsageError(f'invalid network name "{name}"', remedy="use letters, digits, '_', '.' and '-'")
    if options.driver not in (BRIDGE, ""):
        raise UsageError(
            f'could not find plugin {options.driver} in v1 plugin registry: driver "{options.driver}" is not supported',
            remedy="leave --driver out, or use bridge",
        )
    networks = Networks(session.state)
    with session.state.lock(LOCK):
        known = {network.name: network for network in networks.list()}
        if name in known:
            what = "a pre-defined network" if known[name].is_predefined else "there"
            raise ContainerError(
                f"network with name {name} already exists", remedy=f"choose another name: this one is {what}"
            )
        subnet, gateway = _addresses(options, networks, [item for item in known.values() if item.subnet])
        network = new_network(
            name,
            subnet=str(subnet),
            gateway=gateway,
            address_range=options.address_range,
            is_internal=options.is_internal,
            is_attachable=options.is_attachable,
            labels=dict(labels or {}),
            options=dict(options.options or {}),
        )
        networks.write(network)
    record_event(session.state, NETWORK, "create", network.id, {"name": name, "type": BRIDGE})
    return network


def _addresses(options: NetworkOptions, networks: Networks, others: Sequence[NetworkRecord]) -> tuple[IPv4Network, str]:
    """Return the subnet and the gateway of a new network. Raises UsageError."""
    from ipaddress import IPv4Network, ip_address

    if not options.subnet:
        if options.gateway or options.address_range:
            raise UsageError(
                "invalid network config: a gateway or an address range needs a subnet", remedy="add --subnet"
            )
        subnet = networks.free_subnet()
        return subnet, str(subnet[1])
    try:
        subnet = IPv4Network(options.subnet)
        gateway = ip_address(options.gateway) if options.gateway else subnet[1]
        part = IPv4Network(options.address_range) if options.address_range else subnet
    except (ValueError, IndexError) as exc:
        raise UsageError(
            f"invalid network config: {exc}", remedy="write --subnet 172.28.0.0/16 --gateway 172.28.0.1"
        ) from exc
    if gateway not in subnet or not part.subnet_of(subnet):
        what = f"gateway {gateway}" if gateway not in subnet else f"range {part}"
        raise UsageError(f"invalid network config: no matching subnet for {what}", remedy=f"use one in {subnet}")
    for other in others:
        if subnet.overlaps(IPv4Network(other.subnet)):
            raise ContainerError(
                f"invalid pool request: Pool overlaps with other one on this address space ({other.name}: "
                f"{other.subnet})",
                remedy="choose another --subnet",
            )
    return subnet, str(gateway)


def list_networks(session: Session) -> list[NetworkRecord]:
    """Return all networks, those that are always there first."""
    return Networks(session.state).list()


def exists_network(name: str, session: Session) -> bool:
    """Tell whether there is a network of that name or id."""
    return any(name == network.name or network.id.startswith(name) for network in list_networks(session) if name)


def inspect_network(name: str, session: Session) -> dict[str, object]:
    """Return docker's document of a network. Raises NotFoundError."""
    network = Networks(session.state).find(name)
    config = {"Subnet": network.subnet} | ({"IPRange": network.address_range} if network.address_range else {})
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": rfc3339(network.created),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv4": True,
        "EnableIPv6": False,
        "IPAM": {
            "Driver": "default",
            "Options": {},
            "Config": [{**config, "Gateway": network.gateway}] if network.subnet else [],
        },
        "Internal": network.is_internal,
        "Attachable": network.is_attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {state.id: _member(state, network) for state in attached(network, session)},
        "Options": dict(network.options),
        "Labels": dict(network.labels),
    }


def _member(state: ContainerState, network: NetworkRecord) -> dict[str, str]:
    (endpoint,) = (item for item in state.networks if item.wanted.name == network.name)
    return {
        "Name": state.name,
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac_address,
        "IPv4Address": f"{endpoint.address}/{network.prefix_length}" if endpoint.address else "",
        "IPv6Address": "",
    }


def attached(network: NetworkRecord, session: Session) -> list[ContainerState]:
    """Return the containers in a network that run."""
    containers = Containers(session.state)
    return [
        state
        for state in containers.states()
        if any(item.wanted.name == network.name for item in state.networks) and containers.is_alive(state.id)
    ]


def connect(container: str, attachment: NetworkAttachment, session: Session, sink: Sink) -> None:
    """Attach a container to a network; one that does not run is attached when it starts. Raises TiffinError."""
    from tiffin.builder.api.containers.networks import connecting

    connecting.connect(container, attachment, session, sink)


def disconnect(name: str, container: str, session: Session, *, force: bool = False) -> None:
    """Detach a container from a network; with `force` that may be gone. Raises TiffinError."""
    from tiffin.builder.api.containers.networks import connecting

    connecting.disconnect(name, container, session, force=force)


def remove_network(name: str, session: Session) -> NetworkRecord:
    """Remove a network that no container runs in. Raises NotFoundError, ContainerError."""
    networks = Networks(session.state)
    with session.state.lock(LOCK):
        network = networks.find(name)
        if network.is_predefined:
            raise ContainerError(f"{name} is a pre-defined network and cannot be removed", remedy="leave it")
        members = attached(network, session)
        if members:
            listed = ", ".join(f'name:"{state.name}" id:"{state.id[:12]}"' for state in members)
            raise ContainerError(
                f"error while removing network: network {network.name} has active endpoints ({listed})",
                remedy="end these containers, or disconnect them",
            )
        networks.forget(network)
    record_event(session.state, NETWORK, "destroy", network.id, {"name": network.name, "type": BRIDGE})
    return network


def prune_networks(session: Session, *, labels: Sequence[str] = ()) -> list[str]:
    """Remove the networks that no container runs in, of those with all of NAME or NAME=VALUE; return their names."""
    removed = []
    for network in list_networks(session):
        if has_labels(network.labels, labels) and not network.is_predefined and not attached(network, session):
            remove_network(network.name, session)
            removed.append(network.name)
    return removed
