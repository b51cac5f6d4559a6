"""Run an image: its configuration and the user's wishes become a sandbox; signals go in, the exit code comes out."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from builder.containers.container import Container
from builder.errors import UsageError
from builder.image.users import User, resolve_user
from builder.layer.index import LayerIndex, MergedTree
from builder.oci.config import RunConfig
from builder.sandbox.launch import ExitStatus, Launcher, Running
from builder.sandbox.network import host_resolv_conf, hosts_file
from builder.sandbox.spec import DEFAULT_SHM_BYTES, Bind, SandboxSpec, Stub, Tmpfs

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
MAX_SMALL_FILE_BYTES = 10 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the command line asks for; empty values leave the image's own."""

    command: tuple[str, ...] = ()
    entrypoint: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Bind | Tmpfs, ...] = ()
    workdir: str = ""
    user: str = ""
    network: str = "host"
    hostname: str = ""
    hosts: tuple[tuple[str, str], ...] = ()
    read_only: bool = False
    tty: bool = False
    shm_size_bytes: int = DEFAULT_SHM_BYTES
    no_new_privs: bool = False


class Root:
    """The image's file system as tables and unpacked trees; enough to look users up before anything runs."""

    def __init__(self, indexes: Sequence[LayerIndex], trees: Sequence[Path]) -> None:
        self._tree = MergedTree(indexes)
        self._trees = tuple(trees)

    def resolve(self, path: str) -> str:
        return self._tree.resolve(path)

    def read_file(self, path: str) -> bytes | None:
        """A small regular file, links followed inside the root; else None."""
        located = self._tree.lookup(self.resolve(path))
        if located is None:
            return None
        located = self._tree.target(located)
        if located.entry.kind != "file" or located.entry.size > MAX_SMALL_FILE_BYTES:
            return None
        host_path = f"{self._trees[located.layer]}/{located.entry.path}"
        fd = os.open(host_path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as stream:
            return stream.read(MAX_SMALL_FILE_BYTES)


def command_of(config: RunConfig, wishes: Wishes) -> tuple[str, ...]:
    """Docker's rule: a given entrypoint drops the image's CMD; given arguments replace it. Raises UsageError."""
    if wishes.entrypoint is not None:
        argv = (*((wishes.entrypoint,) if wishes.entrypoint else ()), *wishes.command)
    else:
        argv = (*(config.entrypoint or ()), *(wishes.command or config.cmd or ()))
    if not argv:
        raise UsageError("no command specified", remedy="give one after the image: the image has none")
    return argv


def make_spec(
    container: Container, config: RunConfig, wishes: Wishes, root: Root, trees: Sequence[Path]
) -> SandboxSpec:
    """The sandbox of a container."""
    user = resolve_user(wishes.user or config.user, root.read_file)
    hostname = wishes.hostname or container.state.id[:12]
    places = [("etc/hosts", False), ("etc/resolv.conf", False)]
    places += [(mount.path.strip("/"), _is_directory(mount)) for mount in wishes.mounts]
    return SandboxSpec(
        scratch_dir=os.fspath(container.scratch),
        lower_dirs=tuple(os.fspath(tree) for tree in trees),
        upper_dir=os.fspath(container.upper),
        work_dir=os.fspath(container.work),
        argv=command_of(config, wishes),
        env=environment(config, wishes, user, hostname),
        cwd=wishes.workdir or config.working_dir or "/",
        uid=user.uid,
        gid=user.gid,
        groups=user.groups,
        hostname=hostname,
        network=wishes.network,
        mounts=wishes.mounts,
        stubs=tuple(Stub(path=root.resolve(path), is_directory=kind) for path, kind in places),
        hosts=hosts_file(hostname, wishes.hosts),
        resolv_conf=host_resolv_conf(network=wishes.network),
        read_only_root=wishes.read_only,
        tty=wishes.tty,
        volatile=container.state.remove,
        shm_size_bytes=wishes.shm_size_bytes,
        no_new_privs=wishes.no_new_privs,
    )


def environment(config: RunConfig, wishes: Wishes, user: User, hostname: str) -> tuple[str, ...]:
    """Docker's: PATH, HOSTNAME, TERM with a terminal, HOME; then the image's, then the user's."""
    env = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if wishes.tty:
        env["TERM"] = "xterm"
    given = dict(item.partition("=")[::2] for item in config.env if "=" in item and "\0" not in item)
    env.update(given)
    env.update(wishes.env)
    env.setdefault("HOME", user.home)
    return tuple(f"{name}={value}" for name, value in env.items())


def _is_directory(mount: Bind | Tmpfs) -> bool:
    return isinstance(mount, Tmpfs) or Path(mount.host_path).is_dir()


def execute(launcher: Launcher, spec: SandboxSpec, *, stdin: int, stdout: int, stderr: int) -> ExitStatus:
    """Run to the end; signals that reach us meanwhile go to the command, a third interrupt kills it."""
    with _signals() as forward:
        running = launcher.run(spec, stdin=stdin, stdout=stdout, stderr=stderr)
        forward.to(running)
        return running.wait()


class _Forward:
    """Sends received signals on; those that came before there was a command are kept for it."""

    def __init__(self) -> None:
        self._running: Running | None = None
        self._early: list[int] = []
        self._interrupts = 0

    def to(self, running: Running) -> None:
        self._running = running
        for number in self._early:
            running.kill(number)

    def received(self, number: int, _frame: FrameType | None) -> None:
        self._interrupts += number == signal.SIGINT
        if self._running is None:
            self._early.append(number)
        else:
            self._running.kill(signal.SIGKILL if self._interrupts > 2 else number)


@contextlib.contextmanager
def _signals() -> Iterator[_Forward]:
    forward = _Forward()
    before = {number: signal.signal(number, forward.received) for number in FORWARDED}
    try:
        yield forward
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
