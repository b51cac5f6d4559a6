"""Which proxy a request goes through: the environment's variables, else config.json's `proxies`, less what NO_PROXY
names.

NO_PROXY as Go reads it, and so docker and podman: DOMAIN is it and all below it, .DOMAIN and *.DOMAIN what is below it,
addresses and networks (10.0.0.0/8) are for hosts that are addresses, HOST:PORT is for that port, * is everything. The
machine itself is never asked through a proxy.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from tiffin.builder.errors import RegistryError
from tiffin.cache.foundation.frozen import dataclass

KINDS = {
    "http_proxy": "httpProxy",
    "https_proxy": "httpsProxy",
    "all_proxy": "allProxy",
    "no_proxy": "noProxy",
    "ftp_proxy": "ftpProxy",
}
MAX_CONFIG_BYTES = 4 << 20
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """`settings` by the variables' names in lower case."""

    settings: Mapping[str, str]

    @classmethod
    def read(cls, environ: Mapping[str, str], configured: Mapping[str, str]) -> Proxies:
        """Return those of the environment, in lower case first; if it has none, those configured
        (`configured_proxies`).
        """
        found = {name: environ.get(name) or environ.get(name.upper(), "") for name in KINDS}
        given = any(found[name] for name in KINDS if name != "no_proxy")
        return cls(settings=found if given else {**configured, **{k: v for k, v in found.items() if v}})

    def of(self, url: str) -> str:
        """Return the proxy for a URL, "" for none."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
        proxy = self.settings.get(f"{parts.scheme}_proxy") or self.settings.get("all_proxy") or ""
        if not proxy or is_this_machine(host) or is_excepted(host, port, self.settings.get("no_proxy", "")):
            return ""
        return proxy if "://" in proxy else f"http://{proxy}"


def read_docker_config(environ: Mapping[str, str]) -> Mapping[str, object]:
    """Read config.json of docker's client; nothing where it cannot be read."""
    folder = environ.get("DOCKER_CONFIG") or f"{environ.get('HOME', '')}/.docker"
    try:
        with Path(folder, "config.json").open("rb") as stream:
            data = stream.read(MAX_CONFIG_BYTES)
        if b'"proxies"' not in data:
            return {}
        document = json.loads(data)
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def configured_proxies(document: Mapping[str, object]) -> dict[str, str]:
    """Return what `proxies.default` of config.json says, by the variables' names in lower case."""
    proxies = document.get("proxies")
    default = proxies.get("default") if isinstance(proxies, dict) else None
    if not isinstance(default, dict):
        return {}
    return {name: str(default[member]) for name, member in KINDS.items() if default.get(member)}


def is_this_machine(host: str) -> bool:
    """Whether a host is loopback by its name or address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_excepted(host: str, port: int, no_proxy: str) -> bool:
    """Whether NO_PROXY names a host."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    for item in filter(None, re.split(r"[\s,]+", no_proxy.lower())):
        if item == "*":
            return True
        network = _network(item.strip("[]"))
        if network is not None:
            if address is not None and address in network:
                return True
            continue
        name, colon, number = item.rpartition(":")
        if not (colon and number.isdigit()):
            name, number = item, ""
        if number and int(number) != port:
            continue
        name = name.strip("[]").removeprefix("*")
        if address is not None:
            if str(address) == name:
                return True
        elif host.lower().endswith(name if name.startswith(".") else f".{name}") or host.lower() == name:
            return True
    return False


def is_fault_of_socks(exc: Exception) -> bool:
    """Whether a connection through a SOCKS proxy failed before the proxy said that the host is at fault (RFC 1928, 0x03
    to 0x05).
    """
    return not any(code in str(exc) for code in ("0x03", "0x04", "0x05"))


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def proxy_error(exc: Exception, proxy: str) -> RegistryError:
    """Return what is wrong with a proxy, without its password."""
    name = urlsplit(proxy).netloc.rpartition("@")[2]
    text = str(exc)
    if "Missing dependencies for SOCKS" in text:
        return RegistryError(f"the proxy {name} speaks SOCKS, which needs PySocks", remedy="pip install tiffin[socks]")
    match = re.search(r"Tunnel connection failed: (\d+)", text)
    status = int(match[1]) if match else 0  # 401 is tinyproxy's for a password that is wrong
    if status in (401, 407) or "authentication failed" in text:
        return needs_password(name)
    if status:
        return RegistryError(
            f"the proxy {name} answered {status}", remedy="ask the operator of the proxy, or add the host to NO_PROXY"
        )
    if "refused" in text:
        return RegistryError(
            f"the proxy {name} refused the connection", remedy="check HTTPS_PROXY, or name the host in NO_PROXY"
        )
    if any(words in text for words in ("Name or service not known", "NameResolution", "Temporary failure in name")):
        return RegistryError(f"could not resolve the proxy {name}", remedy="check HTTPS_PROXY")
    return RegistryError(
        f"the connection to the proxy {name} broke", remedy="check HTTPS_PROXY, or name the host in NO_PROXY"
    )


def needs_password(proxy: str) -> RegistryError:
    """Return the answer 407."""
    name = proxy.rpartition("@")[2].rpartition("//")[2]
    return RegistryError(
        f"the proxy {name} wants a user and a password", remedy="write HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT"
    )
