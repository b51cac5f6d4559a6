"""The network of a container as values: a published port, and what connects it."""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.cache.foundation.frozen import dataclass

ANY = "0.0.0.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """`container` is reachable at `host` of `address` ("" for every one of this machine); host 0 is any free one."""

    container: int
    host: int = 0
    address: str = ""
    protocol: str = "tcp"

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address or ANY
        return f"{address}:{self.host}->{self.container}/{self.protocol}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """`kind` and `connector` are as SandboxSpec has them; `forwarder` is a name server the connector provides."""

    kind: str
    connector: Mapping[str, object] | None = None
    ports: tuple[Port, ...] = ()
    forwarder: str = ""
    warning: str = ""
