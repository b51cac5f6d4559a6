"""The network of a container as values: what connects it, and through which ports."""

from __future__ import annotations

from tiffin.builder.sandbox.child.spec import Connection
from tiffin.builder.sandbox.child.spec import Port as Port
from tiffin.cache.foundation.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """`kind` and `connector` are as SandboxSpec has them; `forwarder` is a name server the connector provides."""

    kind: str
    connector: Connection | None = None
    ports: tuple[Port, ...] = ()
    forwarder: str = ""
    warning: str = ""
