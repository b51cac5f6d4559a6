"""A network: one process in a network namespace of its own, with a bridge that containers are attached to.

It begins with the first container and ends after the last; who holds it is known by their processes, so that nothing
has to be told when one is killed. What leaves the network goes through pasta or slirp4netns.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
from collections.abc import Sequence
from ipaddress import ip_interface
from pathlib import Path

from tiffin.builder.containers.network.bridge.names import Member, NameServer, names_path
from tiffin.builder.containers.network.bridge.nat import masquerade
from tiffin.builder.containers.network.bridge.netlink import Netlink
from tiffin.builder.containers.network.store import LOCK, NetworkRecord, mac_of
from tiffin.builder.sandbox.child import fd_passing, kernel
from tiffin.builder.sandbox.child.network import helper, portproxy
from tiffin.builder.sandbox.child.network.membership import MAX_FDS, MAX_MESSAGE_BYTES, OWN_NETWORK
from tiffin.builder.sandbox.child.network.own import loopback_up
from tiffin.builder.sandbox.child.spec import Connection
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING
from tiffin.cache.store.statedir import StateDir

if TYPE_CHECKING:
    from typing import Any

BRIDGE = "br0"
MTU = 65520  # as that of pasta and slirp4netns: nothing is cut up on the way
BACKLOG = 128
PORT_NAME_LENGTH = 14  # of an interface, whose names have 15 letters
FORWARDING, FORWARDING6 = "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"
ROUTES, ROUTES6 = "/proc/net/route", "/proc/net/ipv6_route"
MAX_INTERFACES = 64


class Attached:
    """A container in the network: the process that holds it, its port of the bridge, who carries what is published."""

    def __init__(self, pid: int, port: str, address: str) -> None:
        self.pid = pid
        self.port = port
        self.address = address
        self.carriers: list[int] = []


class NetworkProcess:
    """The network `record`; `id_map` is the tag of its user namespace's."""

    def __init__(self, state: StateDir, record: NetworkRecord, id_map: str) -> None:
        self._state = state
        self._record = record
        self._id_map = id_map
        self._folder = state.root / "networks"
        self._selector = selectors.DefaultSelector()
        self._names = NameServer(self._folder, record.name, forwards=not record.is_internal)
        self._members: dict[str, Attached] = {}
        self._holders: dict[int, int] = {}  # processes, and the descriptors that tell of their ends
        self._published: dict[str, list[tuple[socket.socket, int]]] = {}
        self._lines: set[socket.socket] = set()
        self._ended = False

    def make(self, way_out: Connection | None) -> str:
        """Make the network, this process in it; return why nothing outside is reached, "" where it is."""
        scratch = self._folder / f"{self._record.name}.run"
        scratch.mkdir(exist_ok=True)
        self._way_out = helper.start(way_out, os.fspath(scratch)) if way_out is not None else None
        kernel.unshare(kernel.CLONE_NEWNET)
        self._own = os.open(OWN_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
        loopback_up()
        with Netlink() as netlink:
            netlink.make_bridge(BRIDGE, mac=mac_of(self._record.gateway), mtu=MTU)
            self._bridge = socket.if_nametoindex(BRIDGE)
            for pool in self._record.pools:
                netlink.add_address(self._bridge, ip_interface(f"{pool.gateway}/{pool.prefix_length}"))
        self._names.listen(self._record.gateway, self._selector)
        self._listen()
        if self._way_out is None:
            return ""
        try:
            self._way_out.attach()
            Path(FORWARDING).write_text("1")
            masquerade(_index_of_way_out())
            index = _index_of_way_out6() if self._record.ipv6 is not None else 0
            if index:
                Path(FORWARDING6).write_text("1")
                masquerade(index, socket.AF_INET6)
        except OSError as exc:
            return exc.strerror or str(exc)
        return ""

    def _listen(self) -> None:
        path = socket_path(self._folder, self._record.name)
        path.unlink(missing_ok=True)
        folder = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)
        self._listener.listen(BACKLOG)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def serve(self) -> None:
        """Serve until nobody is attached any more, or somebody ends it."""
        while not self._ended:
            for key, _ in self._selector.select(self._names.give_up()):
                key.data()
            if not self._holders and not self._lines:
                break
        with self._state.lock(LOCK, blocking=False) as is_ours:
            if is_ours and (self._ended or not self._has_news()):  # else another one is about to take this place
                self._remove_files()

    def _has_news(self) -> bool:
        """Tell whether somebody wants to be served."""
        return bool(self._selector.select(0))

    def _remove_files(self) -> None:
        for path in (socket_path(self._folder, self._record.name), names_path(self._folder, self._record.name)):
            path.unlink(missing_ok=True)
        scratch = self._folder / f"{self._record.name}.run"
        for path in scratch.glob("*"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            scratch.rmdir()

    # -- requests -----------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            line, _ = self._listener.accept()
            self._lines.add(line)
            self._selector.register(line, selectors.EVENT_READ, lambda: self._hear(line))

    def _hear(self, line: socket.socket) -> None:
        try:
            data, fds = fd_passing.receive(line, MAX_MESSAGE_BYTES, MAX_FDS)
        except OSError:
            data, fds = b"", []
        if not data:
            self._selector.unregister(line)
            self._lines.discard(line)
            line.close()
            return
        try:
            answer = self._do(json.loads(data), fds)
        except OSError as exc:
            answer = {"error": exc.strerror or str(exc)}
        except (KeyError, ValueError, TypeError) as exc:
            answer = {"error": f"it is asked in another version's words ({exc!r})"}
        finally:
            for fd in fds:
                os.close(fd)
        with contextlib.suppress(OSError):
            line.send(json.dumps(answer).encode())

    def _do(self, members: dict[str, Any], fds: list[int]) -> dict[str, object]:
        match members["do"]:
            case "hold":
                self._hold(members["pid"])
            case "publish":
                sockets = [socket.socket(fileno=os.dup(fd)) for fd in fds]
                self._published.setdefault(members["id"], []).extend(zip(sockets, members["ports"], strict=True))
            case "carry":
                sockets = [socket.socket(fileno=os.dup(fd)) for fd in fds]
                self._carry(self._members[members["id"]], list(zip(sockets, members["ports"], strict=True)))
            case "attach":
                self._attach(members, fds)
            case "detach":
                self._detach(members["id"])
            case "know":
                self._names.know(members["id"], members["names"], members["networks"])
            case "route":
                self._lead_out(members["process"])
            case "end":
                self._ended = True
        return {"id_map": self._id_map}

    def _hold(self, pid: int) -> None:
        """Serve at least as long as a process is there."""
        if pid not in self._holders:
            descriptor = os.pidfd_open(pid)
            self._holders[pid] = descriptor
            self._selector.register(descriptor, selectors.EVENT_READ, lambda: self._let_go(pid))

    def _let_go(self, pid: int) -> None:
        descriptor = self._holders.pop(pid)
        self._selector.unregister(descriptor)
        os.close(descriptor)
        for identity in [identity for identity, member in self._members.items() if member.pid == pid]:
            self._detach(identity)

    def _attach(self, members: dict[str, Any], fds: list[int]) -> None:
        """Attach the network of a container, given by a descriptor or by a process in it."""
        identity, pid = members["id"], members["pid"]
        self._hold(pid)
        published = self._published.pop(identity, [])
        self._detach(identity)
        network = fds[0] if fds else os.open(f"/proc/{members['process']}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        member = Attached(pid, f"v{identity[:PORT_NAME_LENGTH]}", members["address"])
        try:
            self._plug(member, network, members)
        finally:
            if not fds:
                os.close(network)
        self._members[identity] = member
        addresses = [text for text in (members["address"], members.get("address6", "")) if text]
        self._names.add(identity, Member(addresses, members["names"], members["networks"], members["servers"]))
        if published:
            self._carry(member, published)

    def _plug(self, member: Attached, network: int, members: dict[str, Any]) -> None:
        """Make the interface of a container, the next ethN that it has not."""
        with self._inside(network):
            inner = Netlink()
            taken = {name for _, name in socket.if_nameindex()}
        name = next(name for name in map("eth{}".format, range(MAX_INTERFACES)) if name not in taken)
        with inner, Netlink() as outer:
            outer.make_pair(
                member.port, self._bridge, peer=name, peer_network=network, peer_mac=members["mac"], mtu=MTU
            )
            with self._inside(network):
                index = socket.if_nametoindex(name)
            addresses = (members["address"], members.get("address6", ""))
            for address, pool in zip(addresses, self._record.pools, strict=False):
                inner.add_address(index, ip_interface(f"{address}/{pool.prefix_length}"))
            inner.raise_link(index)
            if not self._record.is_internal:
                self._add_routes(inner, index)

    def _lead_out(self, process: int) -> None:
        """Have what a container sends elsewhere leave by this network, where it has no other way."""
        network = os.open(f"/proc/{process}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        with self._inside(network):
            inner = Netlink()
        os.close(network)
        with inner:
            self._add_routes(inner, 0)

    def _add_routes(self, inner: Netlink, index: int) -> None:
        for pool in self._record.pools:
            with contextlib.suppress(FileExistsError):  # that of a network it was attached to before
                inner.add_default_route(index, pool.gateway)

    @contextlib.contextmanager
    def _inside(self, network: int) -> Any:
        """Work in another network."""
        kernel.setns(network, kernel.CLONE_NEWNET)
        try:
            yield
        finally:
            kernel.setns(self._own, kernel.CLONE_NEWNET)

    def _carry(self, member: Attached, published: Sequence[tuple[socket.socket, int]]) -> None:
        """Carry what is published in a process of its own, which ends with this one."""
        own = os.getpid()
        listeners: list[tuple[socket.socket, portproxy.Target]] = [
            (sock, (member.address, port)) for sock, port in published
        ]
        carrier = os.fork()
        if carrier == 0:
            try:
                kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() == own:
                    self._listener.close()
                    for line in self._lines:
                        line.close()
                    portproxy.Proxy(listeners, self._end_of_carrier()).serve()
            finally:
                os._exit(0)
        member.carriers.append(carrier)
        for sock, _ in listeners:
            sock.close()

    def _end_of_carrier(self) -> socket.socket:
        """Return a socket that is never readable: a carrier is killed."""
        self._ends = socket.socketpair()
        return self._ends[0]

    def _detach(self, identity: str) -> None:
        member = self._members.pop(identity, None)
        if member is None:
            return
        self._names.remove(identity)
        for carrier in member.carriers:
            os.kill(carrier, signal.SIGKILL)
            os.waitpid(carrier, 0)
        with contextlib.suppress(OSError), Netlink() as netlink:  # it goes with the container's network, a little later
            netlink.remove_link(member.port)


def socket_path(folder: Path, network: str) -> Path:
    """Return where the process of a network listens."""
    return folder / f"{network}.sock"


def _index_of_way_out() -> int:
    """Return the interface that has the default route."""
    with open(ROUTES, encoding="ascii") as file:
        for line in file.readlines()[1:]:
            words = line.split()
            if int(words[1], 16) == 0 and int(words[7], 16) == 0:
                return socket.if_nametoindex(words[0])
    raise OSError(0, "there is no route to the outside")


def _index_of_way_out6() -> int:
    """Return the interface that has the default route of IPv6, 0 where there is none."""
    with contextlib.suppress(OSError), open(ROUTES6, encoding="ascii") as file:
        for line in file:
            words = line.split()
            if int(words[0], 16) == 0 and int(words[1], 16) == 0 and words[-1] != "lo":
                return socket.if_nametoindex(words[-1])
    return 0
