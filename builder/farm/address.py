"""Where a farm is, and whom it trusts: TLS with certificates of both sides, or nothing but this machine."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.frozen import dataclass

VARIABLE = "TIFFIN_FARM"
DEFAULT_PORT = 8786
_SCHEMES = ("tcp", "tls")


@dataclass(frozen=True, slots=True, kw_only=True)
class FarmTrust:
    """Files in PEM: who signs the certificates of a farm, our certificate, its key. All three, or none."""

    ca: str = ""
    cert: str = ""
    key: str = ""

    def __bool__(self) -> bool:
        return bool(self.ca)


@dataclass(frozen=True, slots=True, kw_only=True)
class FarmAccess:
    """The scheduler of a farm, as scheme://HOST:PORT, and how it is reached. `wait_seconds`: for a fitting worker;
    `speculates`: whether a second worker tries what takes much longer than usual.
    """

    address: str
    trust: FarmTrust = FarmTrust()
    wait_seconds: float = 30.0
    speculates: bool = False


def trust_of(ca: str, cert: str, key: str) -> FarmTrust:
    """Return the files of TLS. Raises UsageError where one is missing or cannot be read."""
    given = {"--farm-tls-ca": ca, "--farm-tls-cert": cert, "--farm-tls-key": key}
    missing = [name for name, path in given.items() if not path]
    if len(missing) == len(given):
        return FarmTrust()
    if missing:
        raise UsageError(
            f"{' and '.join(missing)} missing: a farm's TLS has certificates of both sides",
            remedy="give --farm-tls-ca, --farm-tls-cert and --farm-tls-key",
        )
    for name, path in given.items():
        try:
            Path(path).read_bytes()
        except OSError as exc:
            raise UsageError(f"{name} {path}: {exc.strerror}", remedy="name a file in PEM that can be read") from exc
    return FarmTrust(ca=ca, cert=cert, key=key)


def access_of(text: str, trust: FarmTrust, *, speculates: bool = False) -> FarmAccess:
    """Return how a farm is reached. Raises UsageError for what is not an address, and for one off this machine without
    TLS.
    """
    return FarmAccess(address=checked_address(text, trust, "--farm"), trust=trust, speculates=speculates)


def checked_address(text: str, trust: FarmTrust, flag: str, *, port: int = DEFAULT_PORT) -> str:
    """Return scheme://HOST:PORT of what may lack scheme and port. Raises UsageError."""
    match = re.fullmatch(r"(?:([a-z]+)://)?(\[[0-9a-fA-F:.]+\]|[^:/\[\]\s]+)(?::([0-9]{1,5}))?", text)
    if match is None or int(match[3] or 0) > 0xFFFF:
        raise UsageError(f"{flag} {text} is not an address", remedy="write tls://HOST:8786, or tcp://127.0.0.1:8786")
    scheme = match[1] or ("tls" if trust else "tcp")
    if scheme not in _SCHEMES:
        raise UsageError(f"{flag} {text}: unknown scheme {scheme}", remedy="use tls:// (or tcp:// on this machine)")
    if scheme == "tls" and not trust:
        raise UsageError(
            f"{flag} {text} needs certificates", remedy="give --farm-tls-ca, --farm-tls-cert and --farm-tls-key"
        )
    address = f"{scheme}://{match[2]}:{match[3] or port}"
    check_reach(address, flag)
    return address


def check_reach(address: str, what: str) -> None:
    """Raise UsageError for an address that others reach, without TLS."""
    if address.startswith("tls://") or is_loopback(address.partition("://")[2].rpartition(":")[0]):
        return
    raise UsageError(
        f"{what} {address} is not of this machine and has no TLS: whoever reaches it could run commands on the farm",
        remedy="give --farm-tls-ca, --farm-tls-cert and --farm-tls-key, and use tls://",
    )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, and no other can reach it there."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
