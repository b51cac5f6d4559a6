"""Hosts of their own network on this machine: network namespaces on one bridge. Root makes them; they go at the end."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """`name` is that of its network namespace; commands after `prefix` run there."""

    name: str
    address: str

    @property
    def prefix(self) -> list[str]:
        return ["ip", "netns", "exec", self.name]

    def transferred(self) -> int:
        """Return the bytes that came and went since the host was made, as its peer on the bridge counts them."""
        counters = Path(f"/sys/class/net/{self.name}/statistics")
        return sum(int((counters / f"{way}_bytes").read_text()) for way in ("rx", "tx"))

    @contextlib.contextmanager
    def counting(self, addresses: Sequence[str]) -> Iterator[Callable[[], dict[str, int]]]:
        """Count the bytes to and from these addresses while the block runs: yields what tells them so far."""
        tables = [*self.prefix, "iptables"]
        rules = [[chain, way, address] for address in addresses for chain, way in (("INPUT", "-s"), ("OUTPUT", "-d"))]
        for rule in rules:
            subprocess.run([*tables, "-A", *rule], check=True)

        def told() -> dict[str, int]:
            text = "".join(
                subprocess.run([*tables, "-nvxL", chain], check=True, capture_output=True, text=True).stdout
                for chain in ("INPUT", "OUTPUT")
            )
            rows = [line.split() for line in text.splitlines()]
            return {address: sum(int(row[1]) for row in rows if address in row) for address in addresses}

        try:
            yield told
        finally:
            for rule in rules:
                subprocess.run([*tables, "-D", *rule], check=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """`gateway` is this machine's address on the bridge."""

    gateway: str
    hosts: list[Host]


@contextlib.contextmanager
def network_of(count: int) -> Iterator[Network]:
    """That many hosts, which reach each other and this machine, and nothing else."""
    mark = f"tf{os.getpid() % 1_000_000}"
    net = f"198.18.{os.getpid() % 250}"  # RFC 2544: for tests of networks
    with contextlib.ExitStack() as stack:
        _ip("link", "add", mark, "type", "bridge")
        stack.callback(_ip, "link", "del", mark)
        _ip("addr", "add", f"{net}.1/24", "dev", mark)
        _ip("link", "set", mark, "up")
        hosts = [stack.enter_context(_host(mark, f"{mark}-{number}", f"{net}.{number + 2}")) for number in range(count)]
        yield Network(gateway=f"{net}.1", hosts=hosts)


@contextlib.contextmanager
def _host(bridge: str, name: str, address: str) -> Iterator[Host]:
    _ip("netns", "add", name)
    try:
        _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", name, "master", bridge, "up")
        _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            _ip("-n", name, "link", "set", device, "up")
        yield Host(name=name, address=address)
    finally:
        _ip("netns", "del", name)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
