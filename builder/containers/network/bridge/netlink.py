"""Make interfaces, addresses and routes: rtnetlink(7), as far as a bridge and its members need it.

A socket works in the network namespace in which it was opened.
"""

from __future__ import annotations

import os
import socket
import struct
from ipaddress import IPv4Interface, IPv6Interface, ip_address

from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

NLMSG_ERROR = 2
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
MAKE = NLM_F_EXCL | NLM_F_CREATE
RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_NEWROUTE = 16, 17, 20, 24
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_NET_NS_FD = 1, 3, 4, 10, 18, 28
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST = 1, 2, 4
IFA_F_NODAD = 2  # the addresses are ours to give: who has one can use it at once
RTA_GATEWAY, RTA_OIF = 5, 4
RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST = 254, 3, 0, 1
IFF_UP = 1
HEADER_BYTES, MAX_REPLY_BYTES = 16, 1 << 16


class Netlink:
    """Requests to the kernel; each raises OSError where it is refused."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.bind((0, 0))
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def request(self, kind: int, payload: bytes, flags: int = 0) -> None:
        """Send a request and wait for its acknowledgement."""
        self.send(message(kind, payload, flags | NLM_F_ACK))

    def send(self, data: bytes) -> None:
        """Send requests, of which one asks for an acknowledgement, and wait for that."""
        self._socket.send(data)
        reply = self._socket.recv(MAX_REPLY_BYTES)
        kind = struct.unpack_from("=H", reply, 4)[0]
        number = -struct.unpack_from("=i", reply, HEADER_BYTES)[0] if kind == NLMSG_ERROR else 0
        if number:
            raise OSError(number, os.strerror(number))

    # -- links --------------------------------------------------------------------------------------------------------

    def make_bridge(self, name: str, *, mac: str, mtu: int) -> None:
        """Make a bridge, up. Without a MAC address of its own it would change that with its ports."""
        link = _link(up=True) + _attribute(IFLA_IFNAME, _text(name)) + _attribute(IFLA_MTU, struct.pack("=I", mtu))
        link += _attribute(IFLA_ADDRESS, _mac(mac))
        self.request(RTM_NEWLINK, link + _attribute(IFLA_LINKINFO, _attribute(IFLA_INFO_KIND, b"bridge")), MAKE)

    def make_pair(self, name: str, bridge: int, *, peer: str, peer_network: int, peer_mac: str, mtu: int) -> None:
        """Make a port of a bridge and the interface at its other end, in the network of a descriptor, still down."""
        size = _attribute(IFLA_MTU, struct.pack("=I", mtu))
        other = _link() + _attribute(IFLA_IFNAME, _text(peer)) + size
        other += _attribute(IFLA_ADDRESS, _mac(peer_mac))
        other += _attribute(IFLA_NET_NS_FD, struct.pack("=i", peer_network))
        data = _attribute(IFLA_INFO_DATA, _attribute(VETH_INFO_PEER, other))
        link = _link(up=True) + _attribute(IFLA_IFNAME, _text(name)) + size
        link += _attribute(IFLA_MASTER, struct.pack("=I", bridge))
        link += _attribute(IFLA_LINKINFO, _attribute(IFLA_INFO_KIND, b"veth") + data)
        self.request(RTM_NEWLINK, link, MAKE)

    def remove_link(self, name: str) -> None:
        """Remove an interface, and with it the other end of its pair."""
        self.request(RTM_DELLINK, _link() + _attribute(IFLA_IFNAME, _text(name)))

    def raise_link(self, index: int) -> None:
        """Bring an interface up."""
        self.request(RTM_NEWLINK, _link(index, up=True))

    # -- addresses ----------------------------------------------------------------------------------------------------

    def add_address(self, index: int, address: IPv4Interface | IPv6Interface) -> None:
        """Give an interface an address."""
        family, flags = (socket.AF_INET, 0) if address.version == 4 else (socket.AF_INET6, IFA_F_NODAD)
        payload = struct.pack("=BBBBI", family, address.network.prefixlen, flags, 0, index)
        payload += _attribute(IFA_LOCAL, address.ip.packed) + _attribute(IFA_ADDRESS, address.ip.packed)
        if address.version == 4:
            payload += _attribute(IFA_BROADCAST, address.network.broadcast_address.packed)
        self.request(RTM_NEWADDR, payload, MAKE)

    def add_default_route(self, index: int, gateway: str) -> None:
        """Send what has no other route to a gateway; `index` 0 leaves it to the kernel by which interface."""
        number = ip_address(gateway)
        family = socket.AF_INET if number.version == 4 else socket.AF_INET6
        payload = struct.pack(
            "=BBBBBBBBI", family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0
        )
        payload += _attribute(RTA_GATEWAY, number.packed)
        payload += _attribute(RTA_OIF, struct.pack("=I", index)) if index else b""
        self.request(RTM_NEWROUTE, payload, MAKE)


def message(kind: int, payload: bytes, flags: int = 0, number: int = 1) -> bytes:
    """Return a message with its header."""
    header = struct.pack("=IHHII", HEADER_BYTES + len(payload), kind, flags | NLM_F_REQUEST, number, 0)
    return header + payload + b"\0" * (-len(payload) % 4)


def _link(index: int = 0, *, up: bool = False) -> bytes:
    flags = IFF_UP if up else 0
    return struct.pack("=BBHiII", socket.AF_UNSPEC, 0, 0, index, flags, flags)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
