"""What a sandbox is, and how it ended, as values; JSON carries them to and from the process that makes it.

Both sides read the same classes, so that a checker of types knows every member that crosses the fork.
"""

from __future__ import annotations

from tiffin.cache.foundation import json_text
from tiffin.cache.foundation.frozen import asdict, dataclass, field
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

# Docker's fourteen
DEFAULT_CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "NET_BIND_SERVICE", "NET_RAW",
    "SYS_CHROOT", "MKNOD", "AUDIT_WRITE", "SETFCAP",
)  # fmt: skip
DEFAULT_SHM_BYTES = 64 << 20  # Docker's
DEFAULT_TMPFS_MODE = 0o1777
ANY = "0.0.0.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """Show `host_path` (file or directory) at `path`; `source` is a path below it in which no link is followed.

    `propagates`: what the machine mounts below `host_path` while the sandbox runs appears in it, too (MS_SLAVE).
    `has_owners`: its files belong to whom the sandbox gave them, and not to the caller whose ids are kept.
    """

    host_path: str
    path: str
    read_only: bool = False
    source: str = ""
    propagates: bool = False
    has_owners: bool = False
    kind: str = "bind"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tmpfs:
    """An empty file system in memory at `path`; `size_bytes` 0 is the kernel's default."""

    path: str
    size_bytes: int = 0
    mode: int = DEFAULT_TMPFS_MODE
    uid: int = 0
    gid: int = 0
    read_only: bool = False
    executes: bool = True  # programs that lie in it
    kind: str = "tmpfs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminals:
    """The terminals of the sandbox (devpts) at `path`, where what else is mounted there shows the machine's."""

    path: str
    read_only: bool = False
    kind: str = "devpts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Show `source` (relative) of a stack of directories, bottom first, at `path`; what is written is thrown away."""

    path: str
    lower_dirs: tuple[str, ...]
    source: str
    is_directory: bool
    writable: bool = False
    kind: str = "layers"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFile:
    """A file at `path` that is in memory only; `data` in base64."""

    path: str
    data: str = field(repr=False)
    mode: int = 0o400
    uid: int = 0
    gid: int = 0
    kind: str = "secret"


Mount = Bind | Tmpfs | Terminals | Layers | SecretFile
KINDS: dict[str, type[Bind] | type[Tmpfs] | type[Terminals] | type[Layers] | type[SecretFile]] = {
    "devpts": Terminals,
    "bind": Bind,
    "tmpfs": Tmpfs,
    "layers": Layers,
    "secret": SecretFile,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stub:
    """A mount point the root may lack; `path` relative and without symlinks. It comes from below all layers."""

    path: str
    is_directory: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """`container` is reachable at `host` of `address` ("" for every one of this machine); host 0 is any free one."""

    container: int
    host: int = 0
    address: str = ""
    protocol: str = "tcp"

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address or ANY
        return f"{address}:{self.host}->{self.container}/{self.protocol}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What connects a network: pasta, slirp4netns or our proxy, its path, and what is published through it."""

    name: str
    path: str
    ports: tuple[Port, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """A network that another process is: where it listens, what it is asked for, and what is published through it."""

    socket: str
    request: str  # JSON
    ports: tuple[Port, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """One run. All host paths absolute; `lower_dirs` bottom first; `upper_dir` "" makes the root read-only.

    `root_dir` is a whole root on disk, in the place of `lower_dirs`; mount points are then there already. `scratch_dir`
    is an existing empty directory for mount points and generated files, on the file system of `upper_dir` and
    `work_dir`.
    """

    scratch_dir: str
    lower_dirs: tuple[str, ...]
    upper_dir: str
    work_dir: str
    argv: tuple[str, ...]
    env: tuple[str, ...]
    root_dir: str = ""
    has_namespaces: bool = True  # else nothing can be mounted: the command goes into `root_dir` as it is
    is_traced: bool = False  # by a program that runs the command, which enters `root_dir` in its own way
    named_streams: bool = False  # no /proc leads to the streams, so their pipes stand in /dev
    emulated: bool = False  # in a namespace of one id within the one there is: owners are emulated
    opens: bool = False  # device nodes, which are emulated too, can be opened
    device_files: bool = False  # /dev has files in the place of nodes, as none can be made
    abandons: bool = False  # ends when it asks for owners or devices that are not at hand: it is run again with them
    keeps_id: bool = False  # tiffin.builder.sandbox.keepid
    kept: tuple[int, int] | None = None  # the same ids, uid and gid, where owners are emulated
    joins: int = 0  # the number of a command that runs, whose sandbox is entered in the place of one of its own
    joins_started: str = ""  # when that began (join.start_of)
    announces: bool = False  # the launcher is told when the command is executed, not only when it ends
    own_pids: bool = True  # a pid namespace, which needs a fresh /proc
    shared: tuple[str, ...] = ()  # namespaces of the machine that it has: ipc, uts, cgroup, pid (then not own_pids)
    own_groups: bool = False  # it sees its control groups as the roots of their trees, also where it has none of ours
    sysctls: tuple[tuple[str, str], ...] = ()  # name with dots, value
    oom_score_adj: int | None = None
    init: bool = False  # an init of ours is process 1, the command its child
    cwd: str = "/"
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    keeps_groups: bool = False  # those that the caller has outside, where nobody can name them here
    has_users: bool = False  # others than root are expected to run in it
    hostname: str = ""
    domainname: str = ""
    network: str = "host"  # "host", "none", or "private": a network of its own that `connector` connects
    way_out: int = 0  # the port on which it listens for who made it, in a network that has nothing else
    connector: Connection | None = None
    memberships: tuple[Membership, ...] = ()
    joined_ipc: str = ""  # the directory in /proc of a process that has the IPC namespace of another sandbox
    joined_pids: str = ""  # the same of one whose pid namespace it has, in the place of one of its own
    joined_network: str = ""  # the path of another sandbox's, in the place of one of its own
    mounts: tuple[Mount, ...] = ()
    stubs: tuple[Stub, ...] = ()
    hosts: str = ""
    resolv_conf: str = ""
    read_only_root: bool = False
    tty: bool = False
    volatile: bool = False  # no fsync of the run reaches the disk
    watched: str = ""  # a file with the paths of which is to be told whether they were looked up: reading.lookups
    shm_size_bytes: int = DEFAULT_SHM_BYTES  # 0: there is no /dev/shm
    capabilities: tuple[str, ...] = DEFAULT_CAPABILITIES
    no_new_privs: bool = False
    seccomp: str = ""  # struct sock_filter in base64; "" is not a filter
    seccomp_flags: int = 0
    unmasked: bool = False  # all of /proc as it is
    landlock_scoped: bool = True  # no abstract sockets of this machine, where Landlock can see to it
    ulimits: tuple[tuple[str, int, int], ...] = ()  # name, soft, hard; -1 for no limit
    cgroup_dirs: tuple[str, ...] = ()  # directories of control groups the command goes into
    cpu_count: int = 0  # how many the command may use; 0 is all
    cpus: tuple[int, ...] = ()  # which it may use; none for all

    @property
    def enters(self) -> bool:
        """Whether the sandbox of a command that runs is entered; without namespaces one like it is made beside it."""
        return bool(self.joins) and self.has_namespaces

    @property
    def needs_runner(self) -> bool:
        """Whether somebody has to stand between whoever asks for the sandbox and its init: who ends orphans, connects a
        network, makes the user namespace that has the pid namespace, or enters another sandbox.
        """
        helped = self.joins or self.joined_pids or self.connector or self.memberships
        return not self.own_pids or bool(helped) or self.emulated

    def encode(self) -> bytes:
        """Return it as JSON, surrogates kept."""
        return json_text.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> SandboxSpec:
        """Return what `encode` was called on."""
        members = _tuples(json_text.loads(data))
        members["mounts"] = tuple(KINDS[item["kind"]](**_tuples(item)) for item in members["mounts"])
        members["stubs"] = tuple(Stub(**item) for item in members["stubs"])
        members["memberships"] = tuple(
            Membership(**{**item, "ports": tuple(Port(**port) for port in item["ports"])})
            for item in members["memberships"]
        )
        if members["connector"]:
            ports = tuple(Port(**item) for item in members["connector"]["ports"])
            members["connector"] = Connection(**{**members["connector"], "ports": ports})
        return cls(**members)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a sandbox ended. `status` is the command's, negative for a signal; None where there is another reason.

    `error`: what could not be done, with `reason` and `errno`. `message`: why the command could not begin.
    `beyond`: what it asked for that only another sandbox has. `started`: it did not end, the command is executed.
    """

    started: bool = False
    status: int | None = None
    message: str = ""
    error: str = ""
    reason: str = ""
    errno: int = 0
    beyond: str = ""

    def encode(self) -> bytes:
        """Return it as JSON, on one line."""
        return json_text.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> Outcome:
        """Return what `encode` was called on."""
        return cls(**json_text.loads(data))


def _tuples(members: dict[str, Any]) -> dict[str, Any]:
    """Return members as JSON has them with tuples, as the values have them."""
    return {name: _frozen(value) for name, value in members.items()}


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
