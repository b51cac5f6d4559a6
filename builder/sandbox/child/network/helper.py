"""Connect the network of a sandbox: pasta, slirp4netns or our proxy, in a helper that ends with the sandbox.

The helper is forked before the namespaces are made, so it stays in the outer network. A tool gets a pid namespace of
its own, as it may change its credentials and lose the signal of its parent's death; with process 1 of that namespace it
ends whatever it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable

from tiffin.builder.sandbox.child import fd_passing, kernel
from tiffin.builder.sandbox.child.network import portproxy
from tiffin.builder.sandbox.child.network.name_files import PASTA_FORWARDER
from tiffin.builder.sandbox.child.spec import Connection, Port
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

MTU = "65520"
API_SOCKET = "slirp4netns.sock"
READY_SECONDS = 10.0
MAX_MESSAGE_BYTES = 4096
UNCATCHABLE = {signal.SIGKILL, signal.SIGSTOP}


class Connector:
    """The helper, as the runner sees it."""

    def __init__(self, pid: int, line: socket.socket) -> None:
        self._pid = pid
        self._line = line

    def attach(self) -> None:
        """Tell the helper that our network namespace is there and wait until it is connected; raises OSError."""
        network = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            socket.send_fds(self._line, [b"go"], [network])
        os.close(network)
        answer = fd_passing.hear(self._line, MAX_MESSAGE_BYTES)
        if answer != b"ready":
            raise OSError(0, answer.decode("utf-8", "replace") or "its helper ended")

    def close(self) -> None:
        """End the helper and what it started, and wait for that."""
        self._line.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def start(connector: Connection, scratch_dir: str) -> Connector:
    """Fork the helper, which works in an empty directory."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    runner = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == runner:
                _help(connector, scratch_dir, theirs)
        except OSError as exc:
            with contextlib.suppress(OSError):
                theirs.send((exc.strerror or str(exc)).encode())
        finally:
            os._exit(0)
    theirs.close()
    return Connector(pid, ours)


def _help(connector: Connection, scratch: str, line: socket.socket) -> None:
    _close_others(line.fileno())
    if connector.name == "proxy":
        listeners: list[tuple[socket.socket, portproxy.Target]] = [
            (sock, port.container) for port in connector.ports for sock in portproxy.listen(port.address, port.host)
        ]
        network = _network(line)
        if network >= 0:
            kernel.setns(network, kernel.CLONE_NEWNET)
            os.close(network)
            line.send(b"ready")
            portproxy.Proxy(listeners, line).serve()
        return
    network = _network(line)
    if network < 0:
        return
    start_tool = _pasta if connector.name == "pasta" else _slirp
    with contextlib.suppress(OSError):
        kernel.unshare(kernel.CLONE_NEWPID)
    keeper = os.fork()
    if keeper == 0:
        try:
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
            _keep(start_tool, connector, scratch, line, network)
        except OSError as exc:
            with contextlib.suppress(OSError):
                line.send((exc.strerror or str(exc)).encode())
        finally:
            os._exit(0)
    fd_passing.hear(line, MAX_MESSAGE_BYTES)  # its end is that of the sandbox
    with contextlib.suppress(ProcessLookupError):
        os.kill(keeper, signal.SIGKILL)
    os.waitpid(keeper, 0)


def _network(line: socket.socket) -> int:
    """Return the descriptor of the sandbox's network namespace, -1 if there will be none."""
    _, fds = fd_passing.receive(line, MAX_MESSAGE_BYTES, 1)
    return fds[0] if fds else -1


def _keep(
    start_tool: Callable[[Connection, str], None],
    connector: Connection,
    scratch: str,
    line: socket.socket,
    network: int,
) -> None:
    """Act as process 1 of the tool's namespace: start it, say so, reap. The tool finds the network through us."""
    kernel.set_capabilities(frozenset())  # the tool has them from its start; ours must be no more than it keeps
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    os.chdir(scratch)
    errors, writer = os.pipe2(0)
    os.dup2(writer, 2)
    os.close(writer)
    try:
        start_tool(connector, f"/proc/{os.readlink('/proc/self')}/fd/{network}")
    except OSError as exc:
        os.set_blocking(errors, False)
        text = b""
        with contextlib.suppress(BlockingIOError):
            text = os.read(errors, MAX_MESSAGE_BYTES)
        last = text.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise OSError(0, f"{connector.name}: {last or exc.strerror}") from exc
    line.send(b"ready")
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            signal.pause()


def _spawn(argv: list[str], **more: Any) -> int:
    """Start a tool with every signal as a program expects it: pasta takes an ignored SIGPIPE for a failure."""
    return os.posix_spawn(argv[0], argv, {}, setsigdef=signal.valid_signals() - UNCATCHABLE, setsigmask=(), **more)


def _pasta(connector: Connection, network: str) -> None:
    """Start pasta, which goes to the background when it is ready."""
    argv = [
        connector.path,
        "--config-net",
        "--quiet",
        "--netns",
        network,
        "--netns-only",
        "--no-map-gw",
        "--runas",
        "0",
    ]
    argv += ["--dns-forward", PASTA_FORWARDER]
    for flag, protocol in (("-t", "tcp"), ("-u", "udp")):
        ports = [port for port in connector.ports if port.protocol == protocol]
        for port in ports:
            address = f"{port.address}/" if port.address else ""
            argv += [flag, f"{address}{port.host}:{port.container}"]
        if not ports:
            argv += [flag, "none"]
    argv += ["-T", "none", "-U", "none"]
    pid = _spawn(argv)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise OSError(0, "it failed")


def _slirp(connector: Connection, network: str) -> None:
    """Start slirp4netns, which says on a descriptor when it is ready, and takes ports on a socket."""
    reader, writer = os.pipe2(0)
    os.set_inheritable(reader, False)
    argv = [connector.path, "--configure", f"--mtu={MTU}", "--disable-host-loopback", f"--ready-fd={writer}"]
    argv += ["--api-socket", API_SOCKET, "--netns-type=path", network, "tap0"]
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    _spawn(argv, file_actions=[(os.POSIX_SPAWN_DUP2, null, 1)])
    os.close(writer)
    ready = os.read(reader, 1)
    os.close(reader)
    if not ready:
        raise OSError(0, "it failed")
    for port in connector.ports:
        _forward(port)


def _forward(port: Port) -> None:
    arguments = {"proto": port.protocol, "host_port": port.host, "guest_port": port.container}
    if port.address:
        arguments["host_addr"] = port.address
    deadline = time.monotonic() + READY_SECONDS
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as api:
            try:
                api.connect(API_SOCKET)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
                continue
            api.sendall(json.dumps({"execute": "add_hostfwd", "arguments": arguments}).encode())
            api.shutdown(socket.SHUT_WR)
            answer = json.loads(api.recv(MAX_MESSAGE_BYTES) or b"{}")
        if "error" in answer:
            raise OSError(0, str(answer["error"].get("desc", "a port was refused")))
        return


def _close_others(keep: int) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != keep:
            with contextlib.suppress(OSError):
                os.close(int(name))
