"""docker inspect's document of a container."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.api.containers.networks.settings import network_settings
from tiffin.builder.api.session import Session
from tiffin.builder.containers.container import SHORT_ID_LENGTH, Containers
from tiffin.builder.containers.health import UNHEALTHY, with_image
from tiffin.builder.containers.lifecycle.health_monitor import read_health
from tiffin.builder.containers.lifecycle.record import ContainerRecord
from tiffin.builder.containers.mounts import ImageMount, Mount, VolumeMount
from tiffin.builder.containers.run import DEFAULT_STOP_SECONDS
from tiffin.builder.containers.state import ContainerState
from tiffin.builder.containers.volumes.mounting import with_image_volumes
from tiffin.builder.containers.volumes.store import Volumes
from tiffin.builder.errors import TiffinError
from tiffin.builder.plain_text import rfc3339
from tiffin.builder.sandbox.child.kernel import CAPABILITIES
from tiffin.builder.sandbox.child.spec import DEFAULT_CAPABILITIES, Bind, Tmpfs
from tiffin.builder.sandbox.seccomp.filters import UNCONFINED
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.containers.network.published import Port
    from tiffin.builder.containers.run import ContainerOptions

NEVER = "0001-01-01T00:00:00Z"  # Go's zero


def container_document(name: str, session: Session, *, with_size: bool = False) -> dict[str, object]:
    """Return what docker inspect shows of a container, as far as it means something here. Raises ImageNotFoundError."""
    containers = Containers(session.state)
    state = containers.find(name)
    folder = containers.folder(state.id)
    alive = containers.is_alive(state.id)
    document: dict[str, object] = {
        "Id": state.id,
        "Created": rfc3339(state.created),
        "Path": state.command[0],
        "Args": list(state.command[1:]),
        "State": _state(containers, state, alive=alive),
        "Image": state.image_id,
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": str(folder / "container.log") if state.is_detached else "",
        "Name": f"/{state.name}",
        "RestartCount": state.restarts,
        "Driver": "overlay",
        "Platform": "linux",
        "Config": {"Image": state.image, "Labels": dict(state.labels)},
    }
    if with_size:
        from tiffin.builder.api.containers.files.sizes import sizes_of

        sizes = sizes_of([state], session)[state.id]
        document |= {"SizeRw": sizes.changed, "SizeRootFs": sizes.whole}
    try:
        record = ContainerRecord.read(folder)
    except TiffinError:  # of an earlier version
        return document
    options = record.options
    document |= {
        "Mounts": [
            _mount(mount, state, session) for mount in with_image_volumes(options.mounts, record.config.volumes)
        ],
        "Config": _config(state, record),
        "HostConfig": _host_config(state, record),
        "NetworkSettings": network_settings(state, record, session, alive=alive),
    }
    return document


def _state(containers: Containers, state: ContainerState, *, alive: bool) -> dict[str, object]:
    status = state.status(alive=alive)
    pid = 0
    if alive:
        from tiffin.builder.containers.lifecycle.processes import command_of

        try:
            pid = command_of(state)
        except TiffinError:
            pid = state.pid
    health = read_health(containers.folder(state.id)) if state.health else None
    if health is not None and not alive:
        health["Status"] = UNHEALTHY
    return {
        "Status": status,
        "Running": alive,
        "Paused": status == "paused",
        "Restarting": status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": status == "dead",
        "Pid": pid,
        "ExitCode": state.exit_code or 0,
        "Error": state.error,
        "StartedAt": rfc3339(state.started) if state.started else NEVER,
        "FinishedAt": rfc3339(state.finished) if state.finished else NEVER,
        **({"Health": health} if health is not None else {}),
    }


def _config(state: ContainerState, record: ContainerRecord) -> dict[str, object]:
    options, config = record.options, record.config
    variables = dict(options.variables)
    given = [f"{name}={value}" for name, value in variables.items() if value is not None]
    given += [text for text in config.env if text.partition("=")[0] not in variables]
    entrypoint = [options.entrypoint] if options.entrypoint else [] if options.entrypoint == "" else config.entrypoint
    command = list(options.command) if options.command else config.cmd if options.entrypoint is None else None
    check = with_image(options.health, config)
    return {
        **config.to_json(),
        **({"Healthcheck": check.to_config().to_json()} if check is not None else {}),
        **({"HealthcheckOnFailureAction": check.on_failure} if check is not None and check.on_failure else {}),
        "Hostname": options.hostname or state.id[:SHORT_ID_LENGTH],
        "Domainname": options.domainname,
        "User": options.user or config.user,
        "AttachStdin": record.closes_stdin,
        "AttachStdout": not state.is_detached,
        "AttachStderr": not state.is_detached,
        "ExposedPorts": {f"{port.container}/{port.protocol}": {} for port in options.ports}
        | {port: {} for port in (*config.exposed_ports, *options.exposed)},
        "Tty": options.tty,
        "OpenStdin": record.interactive,
        "StdinOnce": record.closes_stdin,
        "Env": given,
        "Cmd": None if command is None else list(command),
        "Image": state.image,
        "WorkingDir": options.workdir or config.working_dir,
        "Entrypoint": None if entrypoint is None else list(entrypoint),
        "Labels": dict(state.labels),
        "StopSignal": options.stop_signal or config.stop_signal or "SIGTERM",
        **({"StopTimeout": options.stop_seconds} if options.stop_seconds != DEFAULT_STOP_SECONDS else {}),
    }


def _host_config(state: ContainerState, record: ContainerRecord) -> dict[str, object]:
    options = record.options
    limits = options.limits
    return {
        "Binds": [
            _bind_text(mount) for mount in options.mounts if isinstance(mount, (Bind, VolumeMount)) and _source(mount)
        ],
        "NetworkMode": state.networks[0].wanted.name if state.networks else options.network,
        "PortBindings": _bindings(options.ports),
        "RestartPolicy": {"Name": options.restart.name, "MaximumRetryCount": options.restart.most},
        "AutoRemove": state.remove,
        "Privileged": options.privileged,
        "ReadonlyRootfs": options.read_only,
        "PublishAllPorts": options.publish_all,
        "Init": options.init,
        "ShmSize": options.shm_size_bytes,
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.swap_bytes,
        "NanoCpus": round(limits.cpus * 1e9),
        "PidsLimit": limits.pids or None,
        **_rights(options),
        "GroupAdd": list(record.groups) or None,
        "Dns": list(options.resolver.servers),
        "DnsSearch": list(options.resolver.search),
        "DnsOptions": list(options.resolver.options),
        "Links": [f"/{name}:/{state.name}/{alias}" for name, alias in options.links] or None,
        "Tmpfs": {mount.path: f"size={mount.size_bytes}" for mount in options.mounts if isinstance(mount, Tmpfs)},
        "ExtraHosts": [f"{name}:{address}" for name, address in options.hosts],
        "LogConfig": {"Type": "json-file" if options.keeps_log else "none", "Config": _log_options(record)},
        "UsernsMode": "",
        **_confinement(options),
        "Runtime": "tiffin",
    }


def _rights(options: ContainerOptions) -> dict[str, object]:
    """Return what docker inspect calls the capabilities and limits that differ from its own."""
    has, usual = options.capabilities, DEFAULT_CAPABILITIES
    added = ["ALL"] if len(has) == len(CAPABILITIES) else [f"CAP_{name}" for name in has if name not in usual]
    dropped = [f"CAP_{name}" for name in usual if name not in has] if has else ["ALL"]
    security = [
        *(["no-new-privileges"] if options.no_new_privs else []),
        *([f"seccomp={UNCONFINED}"] if options.seccomp == UNCONFINED else []),
    ]
    return {
        "CapAdd": None if options.privileged else added or None,
        "CapDrop": dropped or None,
        "SecurityOpt": security or None,
        "Ulimits": [{"Name": name, "Soft": soft, "Hard": hard} for name, soft, hard in options.ulimits] or None,
    }


def _confinement(options: ContainerOptions) -> dict[str, object]:
    """Return what docker inspect calls the namespaces, the devices and the shares of a container."""
    limits, namespaces = options.limits, options.namespaces
    return {
        "IpcMode": namespaces.ipc or "private",
        "PidMode": "host" if namespaces.pid == "host" else "",
        "UTSMode": "host" if namespaces.uts == "host" else "",
        "CgroupnsMode": namespaces.cgroup or "private",
        "Sysctls": dict(options.sysctls),
        "OomScoreAdj": options.oom_score_adj or 0,
        "Annotations": dict(options.annotations),
        "Devices": [
            {"PathOnHost": item.host_path, "PathInContainer": item.path, "CgroupPermissions": item.access}
            for item in options.devices
        ],
        "DeviceRequests": [{"Driver": "cdi", "DeviceIDs": list(options.device_names)}]
        if options.device_names
        else None,
        "MemoryReservation": limits.reserved_bytes,
        "CpuShares": limits.cpu_shares,
        "CpuPeriod": limits.cpu_period,
        "CpuQuota": limits.cpu_quota,
        "CpusetCpus": limits.cpuset,
        "CpusetMems": limits.memory_nodes,
        "BlkioWeight": limits.blkio_weight,
    }


def _log_options(record: ContainerRecord) -> dict[str, str]:
    options = record.options
    found = {}
    if options.log_bytes:
        found["max-size"] = str(options.log_bytes)
    if options.log_files > 1:
        found["max-file"] = str(options.log_files)
    return found


def _source(mount: Bind | VolumeMount) -> str:
    return mount.host_path if isinstance(mount, Bind) else mount.name


def _bind_text(mount: Bind | VolumeMount) -> str:
    return f"{_source(mount)}:{mount.path}" + (":ro" if mount.read_only else "")


def _mount(mount: Mount, state: ContainerState, session: Session) -> dict[str, object]:
    members: dict[str, object] = {
        "Type": "tmpfs",
        "Source": "",
        "Destination": mount.path,
        "Mode": "",
        "Propagation": "",
    }
    if isinstance(mount, Bind):
        members |= {
            "Type": "bind",
            "Source": mount.host_path,
            "Propagation": "rslave" if mount.propagates else "rprivate",
        }
    elif isinstance(mount, VolumeMount):
        name = state.volumes.get(mount.path, mount.name)
        place = str(Volumes(session.state).place_of(name)) if name else ""
        members |= {"Type": "volume", "Name": name, "Source": place, "Driver": "local"}
    elif isinstance(mount, ImageMount):
        members |= {"Type": "image", "Source": mount.image}
    return {**members, "RW": not mount.read_only}


def _bindings(ports: Sequence[Port]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for port in ports:
        host = {"HostIp": port.address, "HostPort": str(port.host) if port.host else ""}
        found.setdefault(f"{port.container}/{port.protocol}", []).append(host)
    return found
