"""The sandbox of a container: what its image and its options say becomes a SandboxSpec."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from pathlib import Path

from tiffin.builder.containers.confinement.asked import NONE, PRIVATE
from tiffin.builder.containers.container import SHORT_ID_LENGTH, Container
from tiffin.builder.containers.environment import environment
from tiffin.builder.containers.run import ContainerOptions, command_of
from tiffin.builder.sandbox.child.network.name_files import host_resolv_conf, hosts_file, machine_hosts
from tiffin.builder.sandbox.child.spec import Bind, SandboxSpec, Stub
from tiffin.builder.sandbox.expected_users import expects_users
from tiffin.cache.foundation.frozen import dataclass, replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.containers.network.published import Network
    from tiffin.builder.containers.rootfs import RootView
    from tiffin.builder.image.users import ProcessUser
    from tiffin.builder.oci.config import RunConfig
    from tiffin.builder.sandbox.child.spec import Layers, Terminals, Tmpfs
    from tiffin.builder.sandbox.isolation import Isolation
    from tiffin.builder.sandbox.seccomp.filters import Filter

FIRST_NAME_OPTION = "ndots:0"  # as docker: a name without a dot is not looked for in domains first
MARK = ".dockerenv"  # by which programs know that they are in a container
Ulimit = tuple[str, int, int]  # name, soft, hard


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What the sandbox is given. `warning` says what is less than was asked for."""

    groups: tuple[str, ...] = ()
    ulimits: tuple[Ulimit, ...] = ()
    cpu_count: int = 0
    cpus: tuple[int, ...] = ()
    warning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedVolumes:
    """What the sandbox is given: mounts in order, and the places that must be there for them."""

    mounts: tuple[Bind | Tmpfs | Terminals | Layers, ...] = ()
    stubs: tuple[Stub, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a container's sandbox is made of. `console` is its terminal on this machine, shown as /dev/console.

    `emulated`, `opens` and `announces` as in SandboxSpec.
    """

    container: Container
    config: RunConfig
    options: ContainerOptions
    root: RootView
    trees: Sequence[Path]
    user: ProcessUser
    mounted: PreparedVolumes
    confinement: Confinement
    network: Network
    isolation: Isolation
    seccomp: Filter
    console: str = ""
    joined_ipc: str = ""
    joined_pids: str = ""
    emulated: bool = False
    opens: bool = False
    announces: bool = False


def make_spec(parts: Parts) -> SandboxSpec:
    """Return the sandbox of a container."""
    return _with_walls(_with_names(_begun(parts), parts), parts)


def _begun(parts: Parts) -> SandboxSpec:
    """Return its root and its command."""
    container, options, isolation, user = parts.container, parts.options, parts.isolation, parts.user
    argv, capabilities = command_of(parts.config, options), isolation.tier.allowed(options.capabilities)
    return SandboxSpec(
        scratch_dir=os.fspath(container.scratch),
        lower_dirs=tuple(os.fspath(tree) for tree in parts.trees) if isolation.overlay else (),
        upper_dir=os.fspath(container.upper) if isolation.overlay else "",
        work_dir=os.fspath(container.work) if isolation.overlay else "",
        root_dir="" if isolation.overlay else os.fspath(container.upper),
        read_only_root=options.read_only,
        volatile=container.state.remove,
        argv=argv,
        env=(),
        cwd=posixpath.normpath("/" + (options.workdir or parts.config.working_dir).lstrip("/")),
        uid=user.uid,
        gid=user.gid,
        groups=user.groups,
        keeps_groups=options.keeps_groups,
        has_users=expects_users(user.uid, capabilities, argv),
        capabilities=capabilities,
        tty=options.tty,
        init=options.init,
        announces=parts.announces,
    )


def _with_names(spec: SandboxSpec, parts: Parts) -> SandboxSpec:
    """Add its names and those it knows, its network, its mounts."""
    options, network, root = parts.options, parts.network, parts.root
    is_named_so = options.as_machine or "uts" in options.namespaces.shared
    own_name = os.uname().nodename if is_named_so else parts.container.state.id[:SHORT_ID_LENGTH]
    hostname = options.hostname or own_name
    own = [Stub(path=root.resolve(name), is_directory=False) for name in ("etc/hosts", "etc/resolv.conf", MARK)]
    devices = [Bind(host_path=device.host_path, path=device.path) for device in options.devices]
    console = (Bind(host_path=parts.console, path="/dev/console"),) if parts.console else ()
    return replace(
        spec,
        env=environment(parts.config.env, options.variables, home=parts.user.home, hostname=hostname, tty=options.tty),
        hostname=hostname,
        domainname=options.domainname,
        network=network.kind,
        connector=network.connector,
        mounts=(*devices, *parts.mounted.mounts, *(console if parts.isolation.has_mounts else ())),
        stubs=(*own, *parts.mounted.stubs),
        memberships=network.memberships,
        hosts=_hosts(hostname, options, network),
        joined_network=network.joined,
        resolv_conf=_resolv_conf(options, network),
        shm_size_bytes=0 if options.namespaces.ipc == NONE else options.shm_size_bytes,
    )


def _hosts(hostname: str, options: ContainerOptions, network: Network) -> str:
    if network.joined:
        return network.hosts
    named = (*network.linked, *options.hosts)
    if options.as_machine:
        return machine_hosts(named)
    return hosts_file(own_names(hostname, options), named, own_addresses=network.addresses)


def own_names(hostname: str, options: ContainerOptions) -> str:
    """Return the names of a container in its own /etc/hosts."""
    return f"{hostname}.{options.domainname} {hostname}" if options.domainname else hostname


def _resolv_conf(options: ContainerOptions, network: Network) -> str:
    """Return resolv.conf: in a network that has names, its own server asks those of --dns."""
    if network.joined:
        return network.resolv_conf
    resolver = options.resolver
    if network.servers:
        resolver = replace(resolver, servers=network.servers, options=resolver.options or (FIRST_NAME_OPTION,))
    return resolver.applied(host_resolv_conf(network=network.kind, forwarder=network.forwarder))


def _with_walls(spec: SandboxSpec, parts: Parts) -> SandboxSpec:
    """Add what keeps it apart."""
    options, isolation, confinement = parts.options, parts.isolation, parts.confinement
    return replace(
        spec,
        has_namespaces=isolation.tier.has_namespaces,
        is_traced=isolation.tier.is_traced,
        emulated=parts.emulated,
        opens=parts.opens,
        own_pids=isolation.own_pids and "pid" not in options.namespaces.shared,
        shared=options.namespaces.shared,
        joined_ipc=parts.joined_ipc,
        joined_pids=parts.joined_pids,
        own_groups=options.namespaces.cgroup == PRIVATE,
        kept=options.keep,
        keeps_id=isolation.id_map is not None and isolation.id_map.keeps,
        no_new_privs=options.no_new_privs,
        seccomp=parts.seccomp.text,
        seccomp_flags=parts.seccomp.flags,
        unmasked=options.unmasked,
        landlock_scoped=not options.privileged,
        ulimits=(*options.ulimits, *confinement.ulimits),
        cgroup_dirs=confinement.groups,
        cpu_count=confinement.cpu_count,
        cpus=confinement.cpus,
        sysctls=options.sysctls,
        oom_score_adj=options.oom_score_adj,
    )
