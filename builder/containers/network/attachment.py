"""How a container is attached to a network that has a name."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tiffin.cache.foundation.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkAttachment:
    """What is asked for: the network, further names of the container in it, addresses ("" for any)."""

    name: str
    aliases: tuple[str, ...] = ()
    ip: str = ""
    mac: str = ""
    ip6: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An attachment as it is: the addresses are those the container has while it runs, else ""."""

    id: str
    wanted: NetworkAttachment
    address: str = ""
    mac_address: str = ""
    address6: str = ""  # of IPv6

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its addresses of both families."""
        return tuple(filter(None, (self.address, self.address6)))


def new_endpoints(attachments: Sequence[NetworkAttachment]) -> tuple[Endpoint, ...]:
    """Return the endpoints of a new container."""
    return tuple(Endpoint(id=os.urandom(32).hex(), wanted=wanted) for wanted in attachments)
