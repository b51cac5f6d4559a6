"""A network that is a sandbox's own, or that of containers: what it has before anything is connected to it."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct

from tiffin.builder.sandbox.child import idmaps

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
OF_IPV4 = "/proc/sys/net/ipv4"
LAST_GROUP = (1 << 31) - 1  # ping(7) of any user, where the namespace has all groups


def loopback_up() -> None:
    """Switch the loopback device on. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack_from("16sh", fcntl.ioctl(sock, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def open_to_all_users() -> None:
    """Let any user listen at any port, and ping, as docker does, where the kernel allows it."""
    groups = f"0 {min(idmaps.own_limits()[1] - 1, LAST_GROUP)}"
    for name, text in (("ip_unprivileged_port_start", "0"), ("ping_group_range", groups)):
        with contextlib.suppress(OSError), open(f"{OF_IPV4}/{name}", "w") as file:
            file.write(text)
