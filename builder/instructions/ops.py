"""What a step does, as pure values: operations, the mounts of a RUN, and origins (where their input lies).

An operation says what it does and which parts of it belong in its cache key; it knows neither cache nor disk. What it
reads beside the file system it works on, it names as inputs, whose content the solver adds to the key.
"""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.cache.foundation import json_text
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING
from tiffin.cache.keys import KeyPart

if TYPE_CHECKING:
    from tiffin.builder.sandbox.cgroup_limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextOrigin:
    """A local directory: the build context (name "") or one given by --build-context."""

    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOrigin:
    """The result of an earlier stage of the same Dockerfile."""

    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOrigin:
    """An image that is not a stage; `name` is the reference as the plan resolved it."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlOrigin:
    """One file behind an http(s) URL, called `filename`. `checksum` "" or the digest it must have."""

    url: str
    filename: str
    checksum: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitOrigin:
    """A checkout of a git repository. `ref` "" is its default branch; `checksum` "" or the commit's (first) digits."""

    url: str
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    keep_git_dir: bool = False
    submodules: bool = True


Origin = ContextOrigin | StageOrigin | ImageOrigin | UrlOrigin | GitOrigin
# what is fetched or listed before anything runs: its content is part of the definition key
OutsideOrigin = ContextOrigin | UrlOrigin | GitOrigin


def outside_name(origin: Origin) -> str:
    """Return what an origin outside the build is called, whatever it holds; "" for stages and images."""
    match origin:
        case ContextOrigin(name=name):
            return f"context {name}"
        case UrlOrigin(url=url):
            return f"url {url}"
        case GitOrigin(url=url, ref=ref, subdir=subdir):
            return f"git {url}#{ref}:{subdir}"
        case _:
            return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Paths (patterns, as in COPY) of an origin that an operation reads. `unpack`: archives among them are unpacked."""

    origin: Origin
    paths: tuple[str, ...]
    unpack: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineFile:
    """A file whose content stands in the Dockerfile (heredoc)."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BindMount:
    """--mount=type=bind: `source` of `origin` at `target`; what is written (if `writable`) is thrown away."""

    target: str
    source: str
    origin: Origin
    writable: bool = False

    def key(self) -> Sequence[object]:
        return ("bind", self.target, self.source, self.writable)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMount:
    """--mount=type=cache: a directory that outlives the build; `origin` is what a new one is filled from."""

    target: str
    id: str
    sharing: str = "shared"  # or "private", "locked"
    read_only: bool = False
    origin: Origin | None = None
    source: str = "/"
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None

    def key(self) -> Sequence[object]:
        beginning = () if self.origin is None else (outside_name(self.origin), self.source)
        return ("cache", self.target, self.id, self.sharing, self.read_only, *beginning)


@dataclass(frozen=True, slots=True, kw_only=True)
class TmpfsMount:
    """--mount=type=tmpfs: memory at `target`; `size_bytes` 0 is the kernel's default."""

    target: str
    size_bytes: int = 0
    read_only: bool = False

    def key(self) -> Sequence[object]:
        return ("tmpfs", self.target, self.size_bytes, *(("ro",) if self.read_only else ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretMount:
    """--mount=type=secret: the secret `id` as a file at `target` ("" for none) and as the variable `env` ("" for
    none).
    """

    id: str
    target: str
    env: str = ""
    required: bool = False
    mode: int = 0o400
    uid: int = 0
    gid: int = 0

    def key(self) -> Sequence[object]:
        return ("secret", self.id, self.target, self.env, self.required, self.mode, self.uid, self.gid)


@dataclass(frozen=True, slots=True, kw_only=True)
class SshMount:
    """--mount=type=ssh: the agent `id` of --ssh as a socket at `target`."""

    id: str
    target: str
    required: bool = False
    mode: int = 0o600
    uid: int = 0
    gid: int = 0

    def key(self) -> Sequence[object]:
        return ("ssh", self.id, self.target, self.required, self.mode, self.uid, self.gid)


RunMount = BindMount | CacheMount | TmpfsMount | SecretMount | SshMount


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDefaults:
    """What the command line says of every RUN. Addresses of hosts and limits do not decide a result, names do.

    `hosts`: pairs of name and address; `ulimits`: (name, soft, hard), -1 for no limit; `shm_bytes` 0 is the default.
    """

    network: str = "default"
    hosts: tuple[tuple[str, str], ...] = ()
    shm_bytes: int = 0
    ulimits: tuple[tuple[str, int, int], ...] = ()
    hostname: str = ""
    seccomp: str = ""  # as in tiffin.builder.sandbox.seccomp.filters; what is forbidden makes a step fail, or not
    no_new_privs: bool = False
    unmasked: bool = False
    retries: int = 0  # of a command that fails; neither this nor the next decides a result
    timeout_seconds: float = 0.0  # 0 for none
    limits: Limits | None = None  # of control groups; as the time, they make a step fail or not
    devices: tuple[str, ...] = ()  # granted: names and kinds of devices, "*" for all; they do not decide a result
    reads: bool = False  # a step is found again where nothing changed that it read
    verify_reads_percent: float = 0.0  # of those found so, how many run and are compared


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRequest:
    """RUN --device: a name of the Container Device Interface, or a kind of devices; without one the step runs, too,
    unless it is `required`.
    """

    name: str
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOp:
    """Run a command over the stage's file system. `proxies` reach the command but never a key or the history."""

    argv: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    user: str
    network: str
    script: InlineFile | None = None  # a heredoc that begins with #!, run as a file
    proxies: tuple[str, ...] = ()
    mounts: tuple[RunMount, ...] = ()
    insecure: bool = False
    devices: tuple[DeviceRequest, ...] = ()
    run_defaults: RunDefaults = RunDefaults()

    def key_parts(self) -> tuple[KeyPart, ...]:
        """Return all but the content of the inputs, and what says how often and how long it may run."""
        parts = [
            KeyPart("op", "run"),
            KeyPart("argv", _json(self.argv)),
            KeyPart("env", _json(self.env)),
            KeyPart("cwd", self.cwd),
            KeyPart("user", self.user),
            KeyPart("network", self.network),
        ]
        if self.script:
            parts.append(KeyPart("script", self.script.data.decode("utf-8", "surrogateescape")))
        parts += [KeyPart("mount", _json(mount.key())) for mount in self.mounts_by_target()]
        if self.insecure:
            parts.append(KeyPart("security", "insecure"))
        if self.devices:
            parts.append(KeyPart("devices", _json([(device.name, device.required) for device in self.devices])))
        around = self.run_defaults
        if around.hosts:
            parts.append(KeyPart("hosts", _json(sorted({name for name, _ in around.hosts}))))
        if around.shm_bytes:
            parts.append(KeyPart("shm", str(around.shm_bytes)))
        if around.ulimits:
            parts.append(KeyPart("ulimits", _json(sorted(around.ulimits))))
        if around.hostname:
            parts.append(KeyPart("hostname", around.hostname))
        return tuple(parts)

    def mounts_by_target(self) -> list[BindMount | CacheMount | TmpfsMount | SecretMount | SshMount]:
        """Return the mounts, what is mounted below another after it."""
        return sorted(self.mounts, key=lambda mount: mount.target.count("/"))

    def inputs(self) -> tuple[Input, ...]:
        """Return what bind mounts show. What a cache mount begins with is not an input: the cache may hold anything."""
        return tuple(
            Input(origin=mount.origin, paths=(mount.source,)) for mount in self.mounts if isinstance(mount, BindMount)
        )

    def origins(self) -> tuple[Origin, ...]:
        """Return everything that must exist before the command can run."""
        return (*(item.origin for item in self.inputs()), *self.beginnings())

    def beginnings(self) -> tuple[Origin, ...]:
        """Return what cache mounts begin with: another one is another cache."""
        return tuple(
            mount.origin for mount in self.mounts if isinstance(mount, CacheMount) and mount.origin is not None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOp:
    """Copy `sources` (and inline files) to `dest`; `is_add` only names the instruction.

    The paths of sources are as written after expansion; `dest` is absolute, a trailing slash kept as it means "a
    directory". `exclude` are patterns as in .dockerignore, relative to each source. `link`: the layer does not depend
    on what is below it. `parents`: the directories above a source are copied too.
    """

    sources: tuple[Input, ...]
    dest: str
    inline: tuple[InlineFile, ...] = ()
    chown: str = ""
    chmod: str = ""
    exclude: tuple[str, ...] = ()
    parents: bool = False
    link: bool = False
    is_add: bool = False

    def key_parts(self) -> tuple[KeyPart, ...]:
        """Return all but the content of the sources, which the solver adds."""
        parts = [
            KeyPart("op", "add" if self.is_add else "copy"),
            KeyPart("sources", _json([[*item.paths, item.unpack] for item in self.sources])),
            KeyPart("dest", self.dest),
            KeyPart("chown", self.chown),
            KeyPart("chmod", self.chmod),
        ]
        if self.exclude:
            parts.append(KeyPart("exclude", _json(self.exclude)))
        parts += [KeyPart(name, "true") for name in ("parents", "link") if getattr(self, name)]
        parts += [KeyPart(f"heredoc {file.name}", file.data.decode("utf-8", "surrogateescape")) for file in self.inline]
        return tuple(parts)

    def inputs(self) -> tuple[Input, ...]:
        return self.sources

    def origins(self) -> tuple[Origin, ...]:
        return tuple(item.origin for item in self.sources)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkdirOp:
    """Make the directory `path` (absolute) with missing parents, owned by `user`."""

    path: str
    user: str

    def key_parts(self) -> tuple[KeyPart, ...]:
        return (KeyPart("op", "workdir"), KeyPart("path", self.path), KeyPart("user", self.user))

    def inputs(self) -> tuple[Input, ...]:
        return ()

    def origins(self) -> tuple[Origin, ...]:
        return ()


Op = RunOp | CopyOp | WorkdirOp


def stands_alone(op: Op) -> bool:
    """Whether the layer is the same whatever is below it (COPY --link)."""
    return isinstance(op, CopyOp) and op.link


def _json(value: object) -> str:
    return json_text.dumps(value, ensure_ascii=True, separators=(",", ":"))
