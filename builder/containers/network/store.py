"""The networks of a state directory: networks/NAME.json, and which addresses they give."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from tiffin.builder.errors import NotFoundError, StoreError, UsageError
from tiffin.cache.foundation.files import disk_errors, remove_tree, write_atomically
from tiffin.cache.foundation.frozen import asdict, dataclass, field
from tiffin.cache.foundation.sha256 import hasher
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING
from tiffin.cache.store.statedir import StateDir

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    IPNetwork = IPv4Network | IPv6Network

NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]*"  # docker's
LOCK = "networks"  # taken before that of the containers' folders
PREDEFINED = {"bridge": "bridge", "host": "host", "none": "null"}  # with their drivers
POOLS = (  # docker's, from which a network without --subnet has its addresses
    *((f"172.{number}.0.0", 16) for number in range(18, 32)),
    *((f"192.168.{number}.0", 20) for number in range(0, 256, 16)),
)
UNIQUE_LOCAL_LENGTH = 64  # of an IPv6 network without --subnet, as docker has it
ROUTES = "/proc/net/route"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressPool:
    """Addresses of one family that a network gives: `subnet` as 172.18.0.0/16, `address_range` a part of it or ""."""

    subnet: str
    gateway: str
    address_range: str = ""

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.subnet else 4

    @property
    def prefix_length(self) -> int:
        return int(self.subnet.partition("/")[2])

    def free_address(self, taken: Collection[str], network: str) -> str:
        """Return the lowest address that nobody has. Raises StoreError where there is none."""
        from ipaddress import ip_network

        subnet = ip_network(self.subnet)
        for number in ip_network(self.address_range or self.subnet):
            text = str(number)
            if not self._is_reserved(number, subnet) and text not in (self.gateway, *taken):
                return text
        raise StoreError(
            f"network {network}: no available IPv{self.version} addresses on this network's address pools",
            remedy="end containers, or make a network with a larger --subnet",
        )

    def check_address(self, text: str) -> None:
        """Refuse an address that no container of this network may have. Raises UsageError."""
        from ipaddress import ip_address, ip_network

        try:
            number, subnet = ip_address(text), ip_network(self.subnet)
        except ValueError:
            what = f'invalid IPv{self.version} address: "{text}"'
            raise UsageError(what, remedy=f"use one of {self.subnet}") from None
        if number not in subnet or str(number) == self.gateway or self._is_reserved(number, subnet):
            raise UsageError(
                f"no configured subnet or ip-range contain the IP address {text}", remedy=f"use one of {self.subnet}"
            )

    def _is_reserved(self, number: object, subnet: IPNetwork) -> bool:
        """Whether an address is the network's own; IPv6 has none for all of a network."""
        return number == subnet.network_address or (self.version == 4 and number == subnet.broadcast_address)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRecord:
    """A network; `subnet`, `gateway` and `address_range` as in AddressPool, "" for one that is not ours.

    Those of IPv6 are "" where containers have no addresses of it.
    """

    name: str
    id: str
    created: float
    driver: str = "bridge"
    subnet: str = ""
    gateway: str = ""
    address_range: str = ""
    subnet6: str = ""
    gateway6: str = ""
    address_range6: str = ""
    is_internal: bool = False
    is_attachable: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_predefined(self) -> bool:
        """Whether it is always there."""
        return self.name in PREDEFINED

    @property
    def ipv4(self) -> AddressPool | None:
        """Its IPv4 addresses."""
        if not self.subnet:
            return None
        return AddressPool(subnet=self.subnet, gateway=self.gateway, address_range=self.address_range)

    @property
    def ipv6(self) -> AddressPool | None:
        """Its IPv6 addresses."""
        if not self.subnet6:
            return None
        return AddressPool(subnet=self.subnet6, gateway=self.gateway6, address_range=self.address_range6)

    @property
    def pools(self) -> tuple[AddressPool, ...]:
        """All its addresses."""
        return tuple(pool for pool in (self.ipv4, self.ipv6) if pool is not None)

    def check_addresses(self, ip: str, ip6: str) -> None:
        """Refuse addresses ("" for any) that no container of this network may have. Raises UsageError."""
        for pool, asked in ((self.ipv4, ip), (self.ipv6, ip6)):
            if asked and pool is None:
                raise UsageError(
                    f"network {self.name} has no IPv6 addresses, and so no {asked}",
                    remedy="make it with tiffin network create --ipv6",
                )
            if asked and pool is not None:
                pool.check_address(asked)


class Networks:
    """The networks of one state directory. Who changes them holds LOCK."""

    def __init__(self, state: StateDir) -> None:
        self._state = state
        self.folder = state.root / "networks"

    def list(self) -> list[NetworkRecord]:
        """Return all, those that are always there first."""
        own = []
        with contextlib.suppress(FileNotFoundError):
            own = [name.removesuffix(".json") for name in os.listdir(self.folder) if name.endswith(".json")]
        found = [self._read(name) for name in sorted(own)]
        return [*map(self._predefined, PREDEFINED), *(network for network in found if network is not None)]

    def find(self, text: str) -> NetworkRecord:
        """Find one by name, id or the beginning of an id. Raises NotFoundError, UsageError."""
        if text in PREDEFINED:
            return self._predefined(text)
        found = self._read(text) if re.fullmatch(NAME, text) else None
        if found is not None:
            return found
        hits = [network for network in self.list() if text and network.id.startswith(text)]
        if len(hits) > 1:
            raise UsageError(f'"{text}" is the beginning of several network ids', remedy="write more of it")
        if not hits:
            raise NotFoundError(f"network {text} not found", remedy="see tiffin network ls")
        return hits[0]

    def write(self, network: NetworkRecord) -> None:
        """Write it down. Raises StoreError."""
        with disk_errors(self.folder):
            self.folder.mkdir(mode=0o700, exist_ok=True)
        write_atomically(self._path(network.name), json.dumps(asdict(network), sort_keys=True).encode())

    def forget(self, network: NetworkRecord) -> None:
        """Remove what is written of it, and what its process left if it was killed."""
        for suffix in (".json", ".sock", ".names"):
            (self.folder / f"{network.name}{suffix}").unlink(missing_ok=True)
        scratch = self.folder / f"{network.name}.run"
        if scratch.exists():
            remove_tree(scratch)

    def free_subnet(self) -> IPv4Network:
        """Return addresses that neither another network nor the machine has. Raises StoreError."""
        from ipaddress import IPv4Network

        taken = [*map(IPv4Network, (network.subnet for network in self.list() if network.subnet)), *machine_subnets()]
        for address, length in POOLS:
            subnet = IPv4Network(f"{address}/{length}")
            if not any(subnet.overlaps(other) for other in taken):
                return subnet
        raise StoreError(
            "all predefined address pools have been fully subnetted",
            remedy="remove networks with tiffin network prune, or give --subnet",
        )

    def free_subnet6(self) -> IPv6Network:
        """Return unique local addresses (RFC 4193) that no other network has."""
        from ipaddress import IPv6Network

        taken = [IPv6Network(network.subnet6) for network in self.list() if network.subnet6]
        while True:
            start = 0xFD << 120 | int.from_bytes(os.urandom(5), "big") << 80
            subnet = IPv6Network((start, UNIQUE_LOCAL_LENGTH))
            if not any(subnet.overlaps(other) for other in taken):
                return subnet

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _read(self, name: str) -> NetworkRecord | None:
        try:
            return NetworkRecord(**json.loads(self._path(name).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def _predefined(self, name: str) -> NetworkRecord:
        digest = hasher("sha256")
        digest.update(f"{self._state.root}\0{name}".encode(errors="surrogateescape"))
        created = self._state.root.joinpath("format").stat().st_mtime
        return NetworkRecord(name=name, id=digest.hexdigest(), created=created, driver=PREDEFINED[name])


def new_network(name: str, **members: object) -> NetworkRecord:
    """Describe a network that is about to be made."""
    return NetworkRecord(name=name, id=os.urandom(32).hex(), created=time.time(), **members)  # type: ignore[arg-type]


def machine_subnets() -> list[IPv4Network]:
    """Return what the machine has routes to, without the default one."""
    from ipaddress import IPv4Network

    found = []
    with contextlib.suppress(OSError), open(ROUTES, encoding="ascii") as file:
        for line in file.readlines()[1:]:
            words = line.split()
            destination, mask = (int.from_bytes(bytes.fromhex(words[index]), "little") for index in (1, 7))
            if mask:
                found.append(IPv4Network((destination, mask.bit_count())))
    return found


def mac_of(address: str) -> str:
    """Return the MAC address that docker gives whoever has an IPv4 address."""
    return ":".join(f"{number:02x}" for number in (2, 0x42, *map(int, address.split("."))))
