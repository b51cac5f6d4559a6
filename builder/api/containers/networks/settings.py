"""What docker inspect shows of a container's networks."""

from __future__ import annotations

from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import SHORT_ID_LENGTH
from tiffin.builder.containers.lifecycle.record import ContainerRecord
from tiffin.builder.containers.network.attachment import Endpoint
from tiffin.builder.containers.network.store import PREDEFINED, NetworkRecord, Networks
from tiffin.builder.containers.state import ContainerState
from tiffin.builder.errors import NotFoundError
from tiffin.builder.sandbox.child.spec import ANY

PRIVATE_AS_DOCKER = {"private": "bridge"}  # the kind of network that docker calls so


def network_settings(
    state: ContainerState, record: ContainerRecord, session: Session, *, alive: bool
) -> dict[str, object]:
    """Return docker's NetworkSettings."""
    if state.networks:
        networks = Networks(session.state)
        shown = {
            item.wanted.name: _endpoint(item, _found(networks, item), state, runs=alive) for item in state.networks
        }
    else:
        kind = PRIVATE_AS_DOCKER.get(record.options.network, record.options.network)
        shown = {kind: _empty(Networks(session.state).find(kind).id)} if kind in PREDEFINED else {}
    return {
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": "",
        "Ports": _ports(state, record) if alive else {},
        "HairpinMode": False,
        "EndpointID": "",
        "Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "MacAddress": "",
        "Networks": shown,
    }


def _found(networks: Networks, endpoint: Endpoint) -> NetworkRecord | None:
    try:
        return networks.find(endpoint.wanted.name)
    except NotFoundError:  # it was removed while the container did not run
        return None


def _empty(network_id: str) -> dict[str, object]:
    return {
        "IPAMConfig": None,
        "Links": None,
        "Aliases": None,
        "MacAddress": "",
        "DriverOpts": None,
        "NetworkID": network_id,
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": None,
    }


def _endpoint(
    endpoint: Endpoint, network: NetworkRecord | None, state: ContainerState, *, runs: bool
) -> dict[str, object]:
    wanted = endpoint.wanted
    asked = {"IPv4Address": wanted.ip, "IPv6Address": wanted.ip6}
    members = _empty(network.id if network is not None else "") | {
        "IPAMConfig": {name: text for name, text in asked.items() if text} or None,
        "Aliases": list(wanted.aliases) or None,
        "DNSNames": list(dict.fromkeys((state.name, *wanted.aliases, state.id[:SHORT_ID_LENGTH]))),
    }
    if runs and network is not None:
        members |= {
            "EndpointID": endpoint.id,
            "Gateway": network.gateway,
            "IPAddress": endpoint.address,
            "IPPrefixLen": network.ipv4.prefix_length if network.ipv4 is not None else 0,
            "IPv6Gateway": network.gateway6,
            "GlobalIPv6Address": endpoint.address6,
            "GlobalIPv6PrefixLen": network.ipv6.prefix_length if network.ipv6 is not None else 0,
            "MacAddress": endpoint.mac_address,
        }
    return members


def _ports(state: ContainerState, record: ContainerRecord) -> dict[str, list[dict[str, str]] | None]:
    """Return what is published, and as None what is only said to be listened at."""
    found: dict[str, list[dict[str, str]] | None] = dict.fromkeys(record.config.exposed_ports)
    for port in state.ports:
        addresses = [port.address] if port.address else [ANY, "::"]
        rows = found.get(f"{port.container}/{port.protocol}") or []
        rows += [{"HostIp": address, "HostPort": str(port.host)} for address in addresses]
        found[f"{port.container}/{port.protocol}"] = rows
    return found
