"""Run an image: its configuration and the user's options become a sandbox; signals go in, the exit code comes out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType

from tiffin.builder.containers.confinement.asked import Device, Namespaces
from tiffin.builder.containers.network.published import Network
from tiffin.builder.containers.network.resolver import Resolver
from tiffin.builder.errors import SandboxError, UsageError
from tiffin.builder.sandbox.cgroup_limits import Limits
from tiffin.builder.sandbox.child.kernel import CAPABILITIES
from tiffin.builder.sandbox.child.spec import DEFAULT_CAPABILITIES, DEFAULT_SHM_BYTES, Bind, Port
from tiffin.builder.sandbox.seccomp.filters import UNCONFINED as UNCONFINED
from tiffin.cache.foundation.frozen import dataclass, field
from tiffin.cache.foundation.signals import signal
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing import Any

    from tiffin.builder.containers.environment import Variable
    from tiffin.builder.containers.health import HealthCheck
    from tiffin.builder.containers.mounts import Mount
    from tiffin.builder.containers.streams import Streams
    from tiffin.builder.containers.terminal import Terminal
    from tiffin.builder.oci.config import RunConfig
    from tiffin.builder.sandbox.isolation import Isolation
    from tiffin.builder.sandbox.launch import ExitStatus, Running

FORWARDED = tuple(getattr(signal, f"SIG{name}") for name in ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "ALRM"))
ALL = "ALL"
OF_CONTAINER = "container:"
NAMED = "named"  # the network of a container that is in networks with names
# a command is process 1, which need not care about them; docker's client, too, gives up at the third
TERMINATIONS = (signal.SIGTERM, signal.SIGINT)
TERMINATIONS_TO_KILL = 3
GIVEN_UP = b"\ngot 3 SIGTERM/SIGINTs, forcefully exiting\n"
DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q"  # docker's
DEFAULT_STOP_SECONDS = 10  # docker's
HANG_UP_SECONDS = 10  # from the loss of the terminal to the end of a command that does not care: docker stop's patience


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """When a command that ended is started again: `name` as docker has it; `most` is of on-failure, 0 for no limit."""

    name: str = "no"
    most: int = 0

    def wants(self, exit_code: int, restarts: int) -> bool:
        """Tell whether a command that ended so, and not because it was asked to, is to be started again."""
        if self.name == "on-failure":
            return exit_code != 0 and not 0 < self.most <= restarts
        return self.name in ("always", "unless-stopped")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerOptions:
    """What is asked of a container; empty values leave the image's own."""

    command: tuple[str, ...] = ()
    entrypoint: str | None = None
    variables: tuple[Variable, ...] = ()
    mounts: tuple[Mount, ...] = ()
    keep: tuple[int, int] | None = None  # the ids that the caller has inside, where that is not root
    workdir: str = ""
    user: str = ""
    network: str = "host"  # or none, private, named, container:ID
    as_machine: bool = False  # the machine's network was asked for, and with it its names
    network_tool: str = ""
    links: tuple[tuple[str, str], ...] = ()  # other containers, and the names that they are to have in this one
    publish_all: bool = False
    exposed: tuple[str, ...] = ()  # ports, as an image's configuration has them
    ports: tuple[Port, ...] = ()
    hostname: str = ""
    domainname: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    hosts: tuple[tuple[str, str], ...] = ()
    resolver: Resolver = Resolver()
    read_only: bool = False
    tty: bool = False
    init: bool = False
    shm_size_bytes: int = DEFAULT_SHM_BYTES
    capabilities: tuple[str, ...] = DEFAULT_CAPABILITIES
    no_new_privs: bool = False
    seccomp: str = ""  # as in tiffin.builder.sandbox.seccomp.filters
    ulimits: tuple[tuple[str, int, int], ...] = ()
    limits: Limits = Limits()
    unmasked: bool = False
    privileged: bool = False
    namespaces: Namespaces = Namespaces()
    sysctls: tuple[tuple[str, str], ...] = ()
    oom_score_adj: int | None = None
    devices: tuple[Device, ...] = ()
    keeps_groups: bool = False  # of the caller's, which have no names in the container
    device_names: tuple[str, ...] = ()  # of the Container Device Interface: vendor.com/class=name
    annotations: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""  # a name or a number; "" is the image's, else TERM
    stop_seconds: int = DEFAULT_STOP_SECONDS  # of patience before SIGKILL; -1 for no end of it
    restart: RestartPolicy = RestartPolicy()
    keeps_log: bool = True
    log_bytes: int = 0  # where a file of the log is full and another is begun; 0 for never
    log_files: int = 1  # how many of them are kept
    health: HealthCheck | None = None  # None leaves the image's own


def command_of(config: RunConfig, options: ContainerOptions) -> tuple[str, ...]:
    """Apply Docker's rule: a given entrypoint drops the image's CMD; given arguments replace it. Raises UsageError."""
    if options.entrypoint is not None:
        argv = (*((options.entrypoint,) if options.entrypoint else ()), *options.command)
    else:
        argv = (*(config.entrypoint or ()), *(options.command or config.cmd or ()))
    if not argv:
        raise UsageError("no command specified", remedy="give one after the image's name; the image does not set one")
    return argv


def _with_ports(options: ContainerOptions, config: RunConfig) -> Network:
    """Return a network that others make, with what is published through it. Raises SandboxError."""
    if not options.ports and not options.publish_all:
        return Network(kind="private")
    from tiffin.builder.containers.network.ports import claim, parse_ports

    exposed = parse_ports((*config.exposed_ports, *options.exposed)) if options.publish_all else ()
    return Network(kind="private", ports=claim((*options.ports, *exposed)))


def network_of(options: ContainerOptions, config: RunConfig) -> Network:
    """Return the network of a container and what connects it. Raises SandboxError."""
    if options.network == NAMED:
        return _with_ports(options, config)
    if options.network.startswith(OF_CONTAINER):
        return Network(kind="private")
    if options.network != "private" and not options.ports and not options.publish_all:
        return Network(kind=options.network)
    from tiffin.builder.containers.network.networks import connect
    from tiffin.builder.containers.network.ports import parse_ports

    exposed = parse_ports((*config.exposed_ports, *options.exposed)) if options.publish_all else ()
    return connect(options.network, options.network_tool, (*options.ports, *exposed))


def check_options(options: ContainerOptions, isolation: Isolation) -> None:
    """Refuse what this isolation cannot give. Raises UsageError."""
    if options.sysctls and not isolation.tier.has_namespaces:
        raise UsageError(
            f"isolation {isolation.tier} has no namespaces, and so no --sysctl",
            remedy="tiffin info says how to allow it",
        )
    if isolation.has_mounts:
        return
    for what, is_asked in (
        ("mounts of what is elsewhere", any(_is_shown(mount) for mount in options.mounts)),
        ("--read-only", options.read_only),
        ("devices", bool(options.devices or options.device_names)),
    ):
        if is_asked:
            raise UsageError(
                f"isolation {isolation.tier} has no mounts, and so no {what}",
                remedy="tiffin info says how to allow it",
            )


def _is_shown(mount: Mount) -> bool:
    """Whether the mount shows files that are elsewhere."""
    from tiffin.builder.containers.mounts import ImageMount, VolumeMount

    return isinstance(mount, Bind | ImageMount) or (isinstance(mount, VolumeMount) and bool(mount.name))


def choose_capabilities(add: Sequence[str], drop: Sequence[str]) -> tuple[str, ...]:
    """Return Docker's defaults with --cap-add and --cap-drop; ALL is every one, and comes first. Raises UsageError."""
    added, dropped = [_capability(name) for name in add], [_capability(name) for name in drop]
    chosen = set(CAPABILITIES if ALL in added else () if ALL in dropped else DEFAULT_CAPABILITIES)
    chosen |= set(added)
    chosen -= set(dropped)
    return tuple(name for name in CAPABILITIES if name in chosen)


def _capability(text: str) -> str:
    name = text.upper().removeprefix("CAP_")
    if name != ALL and name not in CAPABILITIES:
        raise UsageError(f'unknown capability "{text}"', remedy="write it as NET_ADMIN or CAP_NET_ADMIN")
    return name


def attached_streams(uid: int, *, tty: bool, interactive: bool) -> Terminal | Streams:
    """Return what joins this process's streams to those of a command that runs as `uid`; use it in `with`."""
    if tty:
        from tiffin.builder.containers.terminal import Terminal

        return Terminal(interactive=interactive)
    from tiffin.builder.containers.streams import Streams

    return Streams(interactive=interactive, is_own=uid == os.geteuid())


def attend(
    running: Running, attached: Terminal | Streams, begun: Callable[[], object] | None = lambda: None
) -> ExitStatus:
    """Stay with a command to its end; whatever goes wrong here ends it. Raises SandboxError if it never began.

    `begun` is called once a command that announces it has begun; None where that was waited for.
    """
    try:
        if begun is not None and running.await_start():
            begun()
        attached.join(running)
        status = running.wait()
        attached.drain()
        return status
    except BaseException:
        running.kill(signal.SIGKILL)
        with contextlib.suppress(SandboxError, OSError):
            running.wait()
        raise


class Signalled(Protocol):
    """What signals are passed on to."""

    def kill(self, number: int) -> None:
        """Send it one."""


class Forwarder:
    """Sends signals that reach us on to the command, and ends it where it does not care but somebody insists.

    Those that come before it is there end us, as they would without a command, or are kept for it.
    """

    def __init__(self) -> None:
        self._running: Signalled | None = None
        self._before: dict[int, Any] = {}  # who handled a signal
        self._early: list[int] = []
        self._terminations = 0
        self._had_terminal = False

    def to(self, running: Signalled) -> None:
        """Forward to `running` from now on."""
        self._running = running
        self._had_terminal = _has_terminal()
        for number in self._early:
            running.kill(number)

    def begin(self) -> None:
        """Handle signals; ignored ones (nohup) stay ignored."""
        for number in FORWARDED:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self.received)

    def end(self) -> None:
        """Leave them to whom they were left before."""
        signal.alarm(0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def received(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self._running is not None:
            self._running.kill(self._meant(number))
        elif callable(before := self._before.get(number)):
            before(number, frame)
        else:
            self._early.append(number)

    def _meant(self, number: int) -> int:
        """Return what to send for it."""
        if number in TERMINATIONS:
            self._terminations += 1
            if self._terminations >= TERMINATIONS_TO_KILL:
                with contextlib.suppress(OSError):
                    os.write(2, GIVEN_UP)
                return signal.SIGKILL
        elif number == signal.SIGHUP and self._had_terminal and not _has_terminal():
            signal.alarm(HANG_UP_SECONDS)  # nobody is left who could ask three times
        return signal.SIGKILL if number == signal.SIGALRM else number


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def forwarded_signals() -> Iterator[Forwarder]:
    """Forward signals to the command inside the block."""
    forwarder = Forwarder()
    forwarder.begin()
    try:
        yield forwarder
    finally:
        forwarder.end()
