"""Addresses a registry may not lead to: those of this machine and its own network, unless it is there itself.

Names are looked up when an address is named, and again what a connection reached is compared: a name may resolve to
another address the second time.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tiffin.builder.errors import RegistryError
from tiffin.cache.connections import ContextFor, plain_adapter

if TYPE_CHECKING:
    from requests.adapters import BaseAdapter

REMEDY = "a server on the internet must not do that; if it is meant, name it in TIFFIN_PRIVATE_REGISTRIES"


def is_private(host: str) -> bool:
    """Whether `host`, a name or an address, is loopback, link-local or of a private network. What is unknown is not."""
    try:
        found = socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return False
    return any(is_private_address(str(item[4][0])) for item in found if item[4])


def is_private_address(text: str) -> bool:
    """Return the same for an address; one of IPv6 that stands for one of IPv4 counts as that."""
    address = ipaddress.ip_address(text.split("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return not address.is_global


def guarded_adapter(
    who: str, context_for: ContextFor | None = None, is_exempt: Callable[[str], bool] = lambda host: False
) -> BaseAdapter:
    """Return what opens connections for requests; one that ends at a private address raises RegistryError, but to a
    proxy, or to a host that is exempt.
    """
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    def checked(sock: Any, host: str) -> Any:
        address = str(sock.getpeername()[0])
        if is_private_address(address) and not is_exempt(host):
            sock.close()
            raise RegistryError(f"{who} leads to the private address {address}", remedy=REMEDY)
        return sock

    class Plain(HTTPConnection):
        def _new_conn(self) -> Any:
            return checked(super()._new_conn(), self.host)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> Any:
            return checked(super()._new_conn(), self.host)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return plain_adapter(context_for, {"http": PlainPool, "https": SecurePool})
