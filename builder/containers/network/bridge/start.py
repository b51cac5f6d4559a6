"""Reach the process of a network, and begin it where there is none.

All networks of a state directory are in one user namespace, and so are the containers in them: only then may a process
without rights join their networks. Whoever runs a container enters that namespace in the place of one of its own.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
from collections.abc import Callable, Sequence

from tiffin.builder.containers.network.networks import find_tool
from tiffin.builder.containers.network.store import NetworkRecord, Networks
from tiffin.builder.errors import SandboxError
from tiffin.builder.sandbox import userns
from tiffin.builder.sandbox.child.spec import Connection
from tiffin.builder.sandbox.userns import IdMap
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING
from tiffin.cache.store.statedir import StateDir

if TYPE_CHECKING:
    import socket

MAX_REPORT_BYTES = 4096
READY = b"ready "


def hold(
    state: StateDir,
    networks: Sequence[NetworkRecord],
    id_map: IdMap | str,
    companions: Callable[[], int],
    restore: Callable[[NetworkRecord], None],
    warn: Callable[[str], None],
) -> int:
    """Have the processes of networks run as long as this process; return a descriptor of their user namespace.

    `companions` finds that namespace where no network runs (-1: nobody is in one), and `restore` attaches
    containers again that run in a network which was killed. LOCK is held. `id_map` is only a tag where such a process
    is known to be there. Raises SandboxError.
    """
    tag = id_map if isinstance(id_map, str) else id_map.tag
    namespace = _running_namespace(state, tag)
    if namespace < 0:
        namespace = companions()
    for network in networks:
        if not _is_held(state, network):
            reason = _begin(state, network, id_map, namespace)
            if reason:
                warn(f"containers in network {network.name} reach nothing outside: {reason}")
            if not _is_held(state, network):
                raise SandboxError(f"the process of network {network.name} has ended", remedy="try again")
            restore(network)
        if namespace < 0:
            namespace = _running_namespace(state, tag)
    return namespace


def ask_network(state: StateDir, network: str, members: dict[str, object]) -> dict[str, object] | None:
    """Ask the process of a network; None where there is none. Raises SandboxError for a refusal."""
    from tiffin.builder.sandbox.child.network.membership import ask

    line = connect_network(state, network)
    if line is None:
        return None
    with line:
        try:
            return ask(line, members)
        except ConnectionError:  # it ends just now
            return None
        except OSError as exc:
            raise SandboxError(
                f"network {network}: {exc.strerror}", remedy="end its containers, and try again"
            ) from exc


def connect_network(state: StateDir, network: str) -> socket.socket | None:
    """Return a line to the process of a network, None where there is none."""
    from tiffin.builder.containers.network.bridge.process import socket_path
    from tiffin.builder.sandbox.child.network.membership import connect

    try:
        return connect(os.fspath(socket_path(Networks(state).folder, network)))
    except OSError:
        return None


def _is_held(state: StateDir, network: NetworkRecord) -> bool:
    return ask_network(state, network.name, {"do": "hold", "pid": os.getpid()}) is not None


def _running_namespace(state: StateDir, tag: str) -> int:
    """Return the user namespace of the networks that run, -1 where none does. Raises SandboxError for another map."""
    for path in sorted(Networks(state).folder.glob("*.sock")):
        answer = ask_network(state, path.stem, {"do": "look"})
        line = connect_network(state, path.stem)
        if answer is None or line is None:
            continue
        with line:
            if answer["id_map"] != tag:
                raise SandboxError(
                    f"network {path.stem} runs under another id map ({answer['id_map']}) than this container has "
                    f"({tag})",
                    remedy="use one isolation tier for all containers in networks",
                )
            return namespace_of(_peer(line))
    return -1


def _peer(line: socket.socket) -> int:
    """Return the process at the other end of a line."""
    import socket
    import struct

    number: int = struct.unpack("=iII", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    return number


def namespace_of(pid: int) -> int:
    """Return a descriptor of the user namespace of a process, -1 where it is gone."""
    try:
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def _begin(state: StateDir, network: NetworkRecord, id_map: IdMap | str, namespace: int) -> str:
    """Begin the process of a network; return why nothing outside is reached, if so. Raises SandboxError."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                _be_network(state, network, id_map, namespace, writer)
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as stream:
        report = stream.read(MAX_REPORT_BYTES)
    if not report.startswith(READY):
        raise SandboxError(
            f"cannot begin network {network.name}: {report.decode('utf-8', 'replace') or 'its process ended'}",
            remedy="tiffin info shows what this machine allows",
        )
    return report.removeprefix(READY).decode("utf-8", "replace")


def _be_network(state: StateDir, network: NetworkRecord, id_map: IdMap | str, namespace: int, writer: int) -> None:
    from tiffin.builder.containers.network.bridge.process import NetworkProcess

    gc.freeze()  # what is dropped later would close a descriptor's number, ours by then
    _let_go({namespace, writer})
    try:
        if namespace >= 0:
            userns.join(namespace)
            os.close(namespace)
        elif isinstance(id_map, IdMap):
            userns.enter(id_map)
        else:
            raise SandboxError("the container has ended", remedy="start it again")
        process = NetworkProcess(state, network, id_map if isinstance(id_map, str) else id_map.tag)
        tool, reason = ("", "") if network.is_internal else find_tool("")
        way_out = Connection(name=os.path.basename(tool), path=tool, ports=()) if tool else None
        reason = process.make(way_out) or reason
        os.write(writer, READY + reason.encode())
    except (OSError, SandboxError) as exc:
        os.write(writer, (str(exc) or repr(exc)).encode())
        return
    os.close(writer)
    process.serve()


def _let_go(keep: set[int]) -> None:
    """Hold nothing of whoever began this."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in keep:
            with contextlib.suppress(OSError):
                os.close(int(name))
    os.chdir("/")
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
