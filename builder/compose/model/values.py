"""A project as values: what its services are to be, with the lines where it is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiffin.builder.compose.places import Map, Place
from tiffin.cache.foundation.frozen import dataclass, field

STARTED, HEALTHY, COMPLETED = "service_started", "service_healthy", "service_completed_successfully"
VOLUME = "volume"
DEFAULT_STOP_SECONDS = 10
OF_SERVICE = "service:"  # whose network or other namespace a service has, or whose image a build begins with
SHARED_NAMESPACES = ("ipc", "pid")  # which a service may have of another one, beside its network


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Something a file asks for and that is not done: it is told when the service is to be made."""

    what: str
    why: str
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """What a service waits for before it starts."""

    condition: str = STARTED
    required: bool = True
    restart: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port of a container that is published. `published` "" is one that is chosen; it may be a range."""

    target: int
    published: str = ""
    host_ip: str = ""
    protocol: str = "tcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A mount of a service; `source` is a path, an image, or the key of a volume of the project, "" for one without a
    name.
    """

    kind: str
    target: str
    place: Place
    source: str = ""
    read_only: bool = False
    makes_source: bool = False  # a directory of this machine that is not there
    copies: bool = True  # a new volume is filled from the image
    propagation: str = ""
    subpath: str = ""  # what of a volume or an image is shown
    size_bytes: int = 0
    mode: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMount:
    """A secret or a config in a container."""

    source: str
    target: str
    mode: int | None = None
    uid: str = ""
    gid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceNetwork:
    """How a service is on a network of the project."""

    aliases: tuple[str, ...] = ()
    ipv4: str = ""
    ipv6: str = ""
    mac: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """How it is found out whether a service is well; None leaves the image's. Seconds."""

    test: tuple[str, ...] = ()
    interval: float | None = None
    timeout: float | None = None
    retries: int | None = None
    start_period: float | None = None
    start_interval: float | None = None
    disabled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A command in the container of a service."""

    command: tuple[str, ...]
    user: str = ""
    workdir: str = ""
    privileged: bool = False
    environment: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What happens when a file changes: rebuild, sync, restart, sync+restart, sync+exec."""

    path: str
    action: str
    target: str = ""
    ignore: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    initial_sync: bool = False
    hook: Hook | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """How the image of a service is built."""

    context: str
    place: Place
    dockerfile: str = ""
    inline: str | None = None
    target: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[FileMount, ...] = ()
    ssh: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()
    no_cache: bool = False
    no_cache_stages: tuple[str, ...] = ()
    pull: bool = False
    network: str = ""
    shm_size: int = 0
    hosts: tuple[str, ...] = ()
    ulimits: tuple[tuple[str, int, int], ...] = ()
    entitlements: tuple[str, ...] = ()
    provenance: str = ""  # as --provenance has it
    sbom: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a container may take; 0 for no limit."""

    memory_bytes: int = 0
    swap_bytes: int = 0  # memory and swap together; -1 for no limit
    cpus: float = 0.0
    pids: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service. `document` is what the files say of it, in long forms."""

    name: str
    document: Map
    place: Place
    image: str = ""
    build: Build | None = None
    container_name: str = ""
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: Mapping[str, str | None] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[Port, ...] = ()
    mounts: tuple[Mount, ...] = ()
    tmpfs: tuple[str, ...] = ()
    configs: tuple[FileMount, ...] = ()
    secrets: tuple[FileMount, ...] = ()
    volumes_from: tuple[str, ...] = ()
    networks: Mapping[str, ServiceNetwork] = field(default_factory=dict)
    network_mode: str = ""
    depends_on: Mapping[str, Dependency] = field(default_factory=dict)
    links: tuple[str, ...] = ()
    health: HealthCheck | None = None
    restart: str = "no"
    stop_signal: str = ""
    stop_seconds: int | None = None
    scale: int = 1
    tty: bool = False
    stdin_open: bool = False
    user: str = ""
    groups: tuple[str, ...] = ()
    workdir: str = ""
    hostname: str = ""
    init: bool = False
    privileged: bool = False
    read_only: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security: tuple[str, ...] = ()
    ulimits: tuple[tuple[str, int, int], ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    shm_size: int = 0
    hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    limits: Limits = Limits()
    log_driver: str = ""
    log_options: Mapping[str, str] = field(default_factory=dict)
    pull_policy: str = ""
    platform: str = ""
    profiles: tuple[str, ...] = ()
    attach: bool = True
    watch: tuple[Watch, ...] = ()
    post_start: tuple[Hook, ...] = ()
    pre_stop: tuple[Hook, ...] = ()
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A network, a volume, a secret or a config: `name` is that on this machine."""

    key: str
    name: str
    place: Place
    external: bool = False
    driver: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    internal: bool = False
    subnets: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    address_ranges: tuple[str, ...] = ()
    has_ipv6: bool = False
    file: str = ""  # of a secret or a config
    variable: str = ""
    content: str | None = None
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project: the services that its profiles enable, and what they use."""

    name: str
    directory: str
    files: tuple[str, ...]
    environment: Mapping[str, str]
    services: Mapping[str, Service]
    disabled: Mapping[str, Service]
    networks: Mapping[str, Resource]
    volumes: Mapping[str, Resource]
    secrets: Mapping[str, Resource]
    configs: Mapping[str, Resource]
    document: Map
    separator: str = "-"  # between the words of a container's or an image's name

    @property
    def every_service(self) -> dict[str, Service]:
        """Return all services of the files, whatever their profiles."""
        return {**self.disabled, **self.services}

    def plain(self) -> dict[str, Any]:
        """Return the document as `config` shows it."""
        shown = {key: value for key, value in self.document.items() if key != "services"}
        services = self.document.get("services") or {}
        kept = {name: value for name, value in sorted(services.items()) if name in self.services}
        head = {"name": self.name, "services": {name: _sorted(value) for name, value in kept.items()}}
        tail = {
            key: dict(sorted((name, _sorted(item)) for name, item in shown[key].items()))
            for key in ("networks", "volumes", "secrets", "configs")
            if shown.get(key)
        }
        extensions = {key: value for key, value in shown.items() if key.startswith("x-")}
        return head | tail | extensions


def _sorted(value: Any) -> Any:
    """Return a value whose mappings are in the order of their keys."""
    if isinstance(value, dict):
        return {key: _sorted(item) for key, item in sorted(value.items(), key=lambda entry: str(entry[0]))}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
