"""Networks that containers share and reach each other in, by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import Containers
from tiffin.builder.containers.lifecycle.events import NETWORK, record_event
from tiffin.builder.containers.network.store import LOCK, NAME, AddressPool, NetworkRecord, Networks, new_network
from tiffin.builder.containers.state import ContainerState
from tiffin.builder.errors import ContainerError, UsageError
from tiffin.builder.options import has_labels
from tiffin.builder.plain_text import rfc3339
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    from tiffin.builder.containers.network.attachment import NetworkAttachment
    from tiffin.builder.events import Sink

    IPNetwork = IPv4Network | IPv6Network

BRIDGE = "bridge"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions:
    """What is asked of a network; empty values leave the choice open. `options` are the driver's, kept and shown.

    At most one subnet of IPv4 and one of IPv6; gateways and ranges are of the subnet that they lie in. `has_ipv6`: with
    addresses of IPv6 although no subnet says which.
    """

    driver: str = BRIDGE
    subnets: Sequence[str] = ()
    gateways: Sequence[str] = ()
    address_ranges: Sequence[str] = ()
    has_ipv6: bool = False
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
        network = new_network(
            name,
            **_members_of_pools(options, networks, list(known.values())),
            is_internal=options.is_internal,
            is_attachable=options.is_attachable,
            labels=dict(labels or {}),
            options=dict(options.options or {}),
        )
        networks.write(network)
    record_event(session.state, NETWORK, "create", network.id, {"name": name, "type": BRIDGE})
    return network


def _members_of_pools(options: NetworkOptions, networks: Networks, others: Sequence[NetworkRecord]) -> dict[str, str]:
    """Return the members of the record that say which addresses a new network has. Raises UsageError."""
    pools = {pool.version: pool for pool in _asked_pools(options)}
    for pool in pools.values():
        _check_overlaps(pool, others)
    if 4 not in pools:
        pools[4] = _first_of(networks.free_subnet())
    if 6 not in pools and options.has_ipv6:
        pools[6] = _first_of(networks.free_subnet6())
    members = {}
    for version, pool in pools.items():
        suffix = "6" if version == 6 else ""
        for name in ("subnet", "gateway", "address_range"):
            members[f"{name}{suffix}"] = getattr(pool, name)
    return members


def _first_of(subnet: IPNetwork) -> AddressPool:
    return AddressPool(subnet=str(subnet), gateway=str(subnet[1]))


def _asked_pools(options: NetworkOptions) -> Iterator[AddressPool]:
    """Yield the pool of each subnet that is asked for, with the gateway and the range in it. Raises UsageError."""
    from ipaddress import ip_address, ip_network

    if not options.subnets and (options.gateways or options.address_ranges):
        raise UsageError("invalid network config: a gateway or an address range needs a subnet", remedy="add --subnet")
    try:
        subnets = [ip_network(text) for text in options.subnets]
        gateways = [ip_address(text) for text in options.gateways]
        ranges = [ip_network(text) for text in options.address_ranges]
        firsts = {subnet: subnet[1] for subnet in subnets}
    except (ValueError, IndexError) as exc:
        raise UsageError(
            f"invalid network config: {exc}", remedy="write --subnet 172.28.0.0/16 --gateway 172.28.0.1"
        ) from exc
    if len({subnet.version for subnet in subnets}) < len(subnets):
        raise UsageError(
            "--subnet is given twice for one family of addresses", remedy="a network has one of IPv4 and one of IPv6"
        )
    for subnet in subnets:
        own = [number for number in gateways if number in subnet]
        parts = [part for part in ranges if part.version == subnet.version and part.subnet_of(subnet)]  # type: ignore[arg-type]  # of one version
        if len(own) > 1 or len(parts) > 1:
            raise UsageError(f"two gateways or ranges are given for {subnet}", remedy="keep one of them")
        gateways = [number for number in gateways if number not in own]
        ranges = [part for part in ranges if part not in parts]
        yield AddressPool(
            subnet=str(subnet),
            gateway=str(own[0] if own else firsts[subnet]),
            address_range=str(parts[0]) if parts else "",
        )
    if gateways or ranges:
        what = f"gateway {gateways[0]}" if gateways else f"range {ranges[0]}"
        raise UsageError(
            f"invalid network config: no matching subnet for {what}",
            remedy=f"use one in {' or '.join(map(str, subnets))}",
        )


def _check_overlaps(pool: AddressPool, others: Sequence[NetworkRecord]) -> None:
    """Refuse addresses that another network has. Raises ContainerError."""
    from ipaddress import ip_network

    subnet = ip_network(pool.subnet)
    for other in others:
        for theirs in other.pools:
            if theirs.version == pool.version and subnet.overlaps(ip_network(theirs.subnet)):
                raise ContainerError(
                    f"invalid pool request: Pool overlaps with other one on this address space ({other.name}: "
                    f"{theirs.subnet})",
                    remedy="choose another --subnet",
                )


def list_networks(session: Session) -> list[NetworkRecord]:
    """Return all networks, those that are always there first."""
    return Networks(session.state).list()


def exists_network(name: str, session: Session) -> bool:
    """Tell whether there is a network of that name or id."""
    return any(name == network.name or network.id.startswith(name) for network in list_networks(session) if name)


def inspect_network(name: str, session: Session) -> dict[str, object]:
    """Return docker's document of a network. Raises NotFoundError."""
    network = Networks(session.state).find(name)
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": rfc3339(network.created),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv4": True,
        "EnableIPv6": network.ipv6 is not None,
        "IPAM": {
            "Driver": "default",
            "Options": {},
            "Config": [_pool_document(pool) for pool in network.pools],
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


def _pool_document(pool: AddressPool) -> dict[str, str]:
    part = {"IPRange": pool.address_range} if pool.address_range else {}
    return {"Subnet": pool.subnet, **part, "Gateway": pool.gateway}


def _member(state: ContainerState, network: NetworkRecord) -> dict[str, str]:
    (endpoint,) = (item for item in state.networks if item.wanted.name == network.name)
    return {
        "Name": state.name,
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac_address,
        "IPv4Address": _with_length(endpoint.address, network.ipv4),
        "IPv6Address": _with_length(endpoint.address6, network.ipv6),
    }


def _with_length(address: str, pool: AddressPool | None) -> str:
    return f"{address}/{pool.prefix_length}" if address and pool is not None else ""


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
