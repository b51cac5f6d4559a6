"""Have what leaves a network by its way out come from that: one rule of nf_tables(8), masquerade."""

from __future__ import annotations

import socket
import struct

from tiffin.builder.containers.network.bridge.netlink import NLM_F_ACK, NLM_F_CREATE, Netlink, message

NETLINK_NETFILTER = 12
BATCH_BEGIN, BATCH_END = 0x10, 0x11
NFTABLES = 10  # the subsystem
NEW_TABLE, NEW_CHAIN, NEW_RULE = (NFTABLES << 8) | 0, (NFTABLES << 8) | 3, (NFTABLES << 8) | 6
APPENDED = 0x800
NESTED = 0x8000
TABLE, CHAIN = b"tiffin\0", b"out\0"
NF_INET_POST_ROUTING, SOURCE_NAT_PRIORITY = 4, 100
META_OUT_INDEX, REGISTER, CMP_EQUAL = 5, 1, 0


def masquerade(index: int, family: int = socket.AF_INET) -> None:
    """Give packets of a family that leave by an interface its address. Raises OSError where the kernel cannot."""
    hook = _number(1, NF_INET_POST_ROUTING) + _number(2, SOURCE_NAT_PRIORITY)
    chain = _attribute(1, TABLE) + _attribute(3, CHAIN) + _nested(4, hook) + _attribute(7, b"nat\0")
    compared = _nested(3, _attribute(1, struct.pack("=I", index)))
    expressions = [
        _expression(b"meta\0", _number(1, REGISTER) + _number(2, META_OUT_INDEX)),
        _expression(b"cmp\0", _number(1, REGISTER) + _number(2, CMP_EQUAL) + compared),
        _expression(b"masq\0", b""),
    ]
    rule = _attribute(1, TABLE) + _attribute(2, CHAIN) + _nested(4, b"".join(expressions))
    data = [
        message(BATCH_BEGIN, _head(socket.AF_UNSPEC, NFTABLES)),
        message(NEW_TABLE, _head(family) + _attribute(1, TABLE), NLM_F_CREATE),
        message(NEW_CHAIN, _head(family) + chain, NLM_F_CREATE),
        message(NEW_RULE, _head(family) + rule, NLM_F_CREATE | APPENDED | NLM_F_ACK),
        message(BATCH_END, _head(socket.AF_UNSPEC, NFTABLES)),
    ]
    with Netlink(NETLINK_NETFILTER) as netlink:
        netlink.send(b"".join(data))


def _head(family: int, resource: int = 0) -> bytes:
    return struct.pack("=BB", family, 0) + struct.pack(">H", resource)


def _expression(name: bytes, members: bytes) -> bytes:
    return _nested(1, _attribute(1, name) + _nested(2, members))


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack(">I", value))


def _nested(kind: int, value: bytes) -> bytes:
    return _attribute(kind | NESTED, value)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)
