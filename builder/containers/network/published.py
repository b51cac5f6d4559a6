"""The network of a container as values: what connects it, and through which ports."""

from __future__ import annotations

from tiffin.builder.sandbox.child.spec import Connection, Membership
from tiffin.builder.sandbox.child.spec import Port as Port
from tiffin.cache.foundation.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """`kind`, `connector`, `memberships` and `joined` are as SandboxSpec has them.

    `forwarder` is a name server the connector provides. Networks with names give `addresses`, and have `servers`.
    """

    kind: str
    connector: Connection | None = None
    ports: tuple[Port, ...] = ()
    forwarder: str = ""
    warning: str = ""
    memberships: tuple[Membership, ...] = ()
    addresses: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    linked: tuple[tuple[str, str], ...] = ()  # further lines of the hosts file: name and address
    joined: str = ""
    hosts: str = ""  # of the container whose network it is
    resolv_conf: str = ""
