"""Which network a container gets, and what connects it: pasta, slirp4netns, or for published ports alone our own
proxy.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from tiffin.builder.containers.network.ports import claim
from tiffin.builder.containers.network.published import Network
from tiffin.builder.errors import SandboxError, UsageError
from tiffin.builder.sandbox.child.network.name_files import PASTA_FORWARDER, SLIRP_FORWARDER
from tiffin.builder.sandbox.child.spec import Connection, Port

HOST, NONE, PRIVATE = "host", "none", "private"
NAMES = {HOST: HOST, NONE: NONE, PRIVATE: PRIVATE, "bridge": PRIVATE, "default": PRIVATE}  # Docker's on the right
PASTA, SLIRP, PROXY = "pasta", "slirp4netns", "proxy"
DIRECTORIES = ("/usr/bin", "/usr/local/bin", "/bin")
TUN = "/dev/net/tun"


def choose_kind(text: str | None, *, publishes: bool) -> tuple[str, str]:
    """Return host, none or private, and the tool that was asked for, if any; publishing a port means private."""
    if text is None:
        return (PRIVATE if publishes else HOST), ""
    if text in (PASTA, SLIRP):  # podman's names
        return PRIVATE, text
    if text not in NAMES:
        raise UsageError(f'--network "{text}" is not supported', remedy="use host, none or private")
    return NAMES[text], ""


def connect(kind: str, tool: str, ports: Sequence[Port]) -> Network:
    """Return how the network is made. Call it in the namespace of the container's owner. Raises SandboxError."""
    if kind == HOST:
        warning = "published ports are discarded: with --network host they are open already" if ports else ""
        return Network(kind=HOST, warning=warning)
    if kind == NONE and not ports:
        return Network(kind=NONE)
    claimed = claim(ports)
    found, reason = find_tool(tool) if kind == PRIVATE else ("", "")
    if found:
        name = os.path.basename(found)
        forwarder = PASTA_FORWARDER if name == PASTA else SLIRP_FORWARDER
        return Network(
            kind=PRIVATE, connector=Connection(name=name, path=found, ports=claimed), ports=claimed, forwarder=forwarder
        )
    only = [port for port in ports if port.protocol != "tcp"]
    if not ports or only:
        what = f"publishing {only[0].container}/{only[0].protocol}" if only else "--network private"
        raise SandboxError(
            f"{what} needs pasta or slirp4netns: {reason or 'without them there is TCP alone'}",
            remedy="install passt and let the user open /dev/net/tun, or use --network host",
        )
    warning = f"the container reaches nothing outside, only its published ports work: {reason}" if reason else ""
    return Network(kind=kind, connector=Connection(name=PROXY, path="", ports=claimed), ports=claimed, warning=warning)


def find_tool(tool: str) -> tuple[str, str]:
    """Return the path of the tool to use, or why there is none."""
    names = (tool,) if tool else (PASTA, SLIRP)
    paths = [f"{directory}/{name}" for name in names for directory in DIRECTORIES]
    found = next((path for path in paths if os.access(path, os.X_OK)), "")
    if not found:
        return "", f"{' and '.join(names)} are not installed" if len(names) > 1 else f"{tool} is not installed"
    try:
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as exc:
        return "", f"{TUN} cannot be opened ({(exc.strerror or '').lower()})"
    return found, ""
