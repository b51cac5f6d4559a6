"""What the options of `tiffin run` ask for, as the API takes it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from tiffin.builder.cli.options.run_arguments import DEFAULT_SHM, HealthArguments
from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from tiffin.builder.api.run_options import RunOptions
    from tiffin.builder.cli.options.run_arguments import CreateArguments
    from tiffin.builder.containers.mounts import Mount
    from tiffin.builder.containers.network.published import Port
    from tiffin.builder.containers.run import ContainerOptions, RestartPolicy

KEEP_ID = r"keep-id(?::((?:[ug]id=[0-9]{1,5},?)+))?"  # podman's
KEEP_GROUPS = "keep-groups"  # podman's
HOST_LIMITS = "host"  # podman's --ulimit: as they are
LOG_DRIVERS = ("json-file", "local", "none", "k8s-file")  # one format; others are docker's and podman's other files
HOSTNAME = r"[A-Za-z0-9_.-]{1,64}"  # sethostname(2); "" is the id of the container


def run_options(line: CreateArguments, container: Callable[[], ContainerOptions]) -> RunOptions:
    """Return what a line asks for; `container` reads what is asked of the container when they are asked for.

    Raises UsageError.
    """
    from tiffin.builder.api.run_options import RunOptions
    from tiffin.builder.containers.confinement.asked import Namespaces

    return RunOptions(
        image=line.image,
        container=container,
        name=line.name,
        remove=line.remove,
        interactive=line.interactive,
        groups=tuple(group for group in line.groups if group != KEEP_GROUPS),
        **_networks(line),
        of_others=Namespaces(ipc=line.ipc, pid=line.pid).of_others,
        cidfile=Path(line.cidfile) if line.cidfile is not None else None,
        pull=line.pull,
        platform=line.platform,
        isolation="" if line.isolation == "default" else line.isolation,
        volumes_from=line.volumes_from,
        keeps_ids=may_keep(line),
        registry=line.registry_access(),
    )


def container_options(line: CreateArguments) -> ContainerOptions:
    """Return what a container is asked for. Raises UsageError."""
    from tiffin.builder.containers.environment import parse_host, parse_labels, parse_variables
    from tiffin.builder.containers.network.resolver import parse_resolver
    from tiffin.builder.containers.run import ContainerOptions, choose_capabilities

    mounts = _mounts(line)
    network = _network(line)
    return ContainerOptions(
        command=line.words,
        entrypoint=line.entrypoint,
        variables=parse_variables(line.env, line.env_files, os.environ),
        mounts=mounts,
        workdir=_workdir(line.workdir),
        user=line.user,
        keep=_kept_ids(line, mounts),
        ports=_ports(line.publish),
        publish_all=line.publish_all,
        exposed=_exposed(line.expose),
        hostname=_hostname(line.hostname, "--hostname"),
        domainname=_hostname(line.domainname, "--domainname"),
        hosts=tuple(parse_host(text) for text in line.hosts),
        labels=parse_labels(line.labels, line.label_files),
        resolver=parse_resolver(line.dns, line.dns_search, line.dns_options),
        read_only=line.read_only,
        tty=line.tty,
        init=line.init,
        capabilities=choose_capabilities((*line.cap_add, *(("ALL",) if line.privileged else ())), line.cap_drop),
        privileged=line.privileged,
        ulimits=_ulimits(line.ulimits),
        keeps_groups=KEEP_GROUPS in line.groups,
        **network,
        **_security(line),
        **_shm(line.shm_size),
        **_life(line),
        **_confinement(line, has_network=network.get("network", "host") != "host"),
    )


def _asks_for_network(line: CreateArguments) -> bool:
    """Whether a line says anything of the network, which most do not."""
    return bool(line.network or line.publish or line.publish_all or line.links)


def _networks(line: CreateArguments) -> dict[str, Any]:
    """Return the members that say which networks, or whose, the container is to be in. Raises UsageError."""
    if not _asks_for_network(line) and not (line.aliases or line.ip or line.ip6 or line.mac):
        return {}
    from tiffin.builder.cli.options.containers.networks import attachments_of, joined_container

    return {"networks": attachments_of(line), "joins": joined_container(line)}


def _network(line: CreateArguments) -> dict[str, Any]:
    """Return the members that say what its network is. Raises UsageError."""
    if not _asks_for_network(line):
        return {}
    from tiffin.builder.cli.options.containers.networks import links_of, network_kind

    kind, tool = network_kind(line)
    as_machine = line.network == ("host",) and not line.publish and not line.publish_all
    return {"network": kind, "network_tool": tool, "links": links_of(line), "as_machine": as_machine}


def _security(line: CreateArguments) -> dict[str, Any]:
    """Return the members that say what walls it has, where they are not as ever. Raises UsageError."""
    if not line.security and not line.privileged:
        return {}
    from tiffin.builder.cli.options.security import parse_security
    from tiffin.builder.containers.run import UNCONFINED

    security = parse_security(line.security, Path.cwd())
    return {
        "no_new_privs": security.no_new_privs,
        "seccomp": UNCONFINED if line.privileged else security.seccomp,
        "unmasked": line.privileged or security.unmasked,
    }


def _confinement(line: CreateArguments, *, has_network: bool) -> dict[str, Any]:
    """Return the members that say what a container has of the machine, which most lines do not ask for."""
    if not (line.is_limited() or line.is_confined()):
        return {}
    from tiffin.builder.cli.options.containers.confinement import confinement_of, limits_of

    return {"limits": limits_of(line), **confinement_of(line, has_network=has_network)}


def _mounts(line: CreateArguments) -> tuple[Mount, ...]:
    """Return them in order: parents before what is mounted below them. Raises UsageError."""
    if not (line.volumes or line.mounts or line.tmpfs):
        return ()
    from tiffin.builder.containers.mounts import ordered, parse_mount, parse_tmpfs, parse_volume

    directory = str(Path.cwd())
    return ordered(
        [
            *(parse_volume(text, directory=directory) for text in line.volumes),
            *(parse_mount(text, directory=directory) for text in line.mounts),
            *map(parse_tmpfs, line.tmpfs),
        ]
    )


def _shm(text: str) -> dict[str, Any]:
    """Return the member that says how large /dev/shm is, where it is not as ever."""
    if text == DEFAULT_SHM:
        return {}
    from tiffin.builder.containers.mounts import parse_size

    return {"shm_size_bytes": parse_size(text)}


def _workdir(text: str) -> str:
    if text and not text.startswith("/"):
        raise UsageError(f'--workdir "{text}" is not an absolute path', remedy="begin it with /")
    return text


def may_keep(line: CreateArguments) -> bool:
    """Whether the caller may have to have other ids than root's inside: then the answer is needed before a namespace is
    made.
    """
    return bool(line.userns or (line.user and (line.volumes or line.mounts)))


def _kept_ids(line: CreateArguments, mounts: Sequence[Mount]) -> tuple[int, int] | None:
    """Return the ids that the caller has inside: with --userns=keep-id, and where the command is to run as the very
    caller and has a mount of this machine, which it could not write as anybody else. None: those of root. Raises
    UsageError.
    """
    if not may_keep(line):
        return None
    from tiffin.builder.containers.mounts import is_writable_bind

    text, own = line.userns, (os.getuid(), os.getgid())
    if text in ("", "host"):
        user, _, group = line.user.partition(":")
        is_own = own[0] != 0 and user == str(own[0]) and group in ("", "0", str(own[1]))
        has_bind = any(is_writable_bind(mount) for mount in mounts)
        return own if is_own and has_bind and text != "host" else None
    match = re.fullmatch(KEEP_ID, text)
    if match is None:
        raise UsageError(f'--userns "{text}" is not supported', remedy="use host, keep-id or keep-id:uid=N,gid=N")
    if own[0] == 0:
        raise UsageError("--userns keep-id is for users other than root", remedy="leave it out")
    ids = dict(item.split("=") for item in (match[1] or "").split(",") if item)
    kept = int(ids.get("uid", own[0])), int(ids.get("gid", own[1]))
    return kept if any(kept) else None


def _life(line: CreateArguments) -> dict[str, Any]:
    """Return the members that say how it lives and ends. Raises UsageError."""
    members: dict[str, Any] = {}
    if any(row.on(line) for row in HealthArguments.rows):
        from tiffin.builder.containers.health import parse_health

        members["health"] = parse_health(
            command=line.health_cmd,
            interval=line.health_interval,
            timeout=line.health_timeout,
            retries=line.health_retries,
            start_period=line.health_start_period,
            start_interval=line.health_start_interval,
            on_failure=line.health_on_failure,
            is_off=line.no_healthcheck,
        )
    if line.restart != "no":
        members["restart"] = restart_policy(line.restart)
        if line.remove and line.restart != "no":
            raise UsageError("--restart and --rm do not go together", remedy="leave out one of them")
    if line.stop_signal:
        from tiffin.builder.containers.lifecycle.processes import parse_signal

        parse_signal(line.stop_signal)
        members["stop_signal"] = line.stop_signal
    if line.stop_timeout is not None:
        members["stop_seconds"] = _whole_number("--stop-timeout", line.stop_timeout, least=-1)
    if line.log_driver not in LOG_DRIVERS:
        raise UsageError(
            f'--log-driver "{line.log_driver}" is not supported', remedy=f"use one of {', '.join(LOG_DRIVERS)}"
        )
    if line.log_driver == "none":
        members["keeps_log"] = False
    for text in line.log_opt:
        name, _, value = text.partition("=")
        if name == "max-size":
            from tiffin.builder.containers.mounts import parse_size

            members["log_bytes"] = 0 if value == "-1" else parse_size(value)
        elif name == "max-file":
            members["log_files"] = _whole_number("--log-opt max-file", value, least=1)
        elif name not in ("compress", "mode", "tag", "labels", "env"):
            raise UsageError(f'--log-opt "{text}" is not supported', remedy="use max-size and max-file")
    return members


def restart_policy(text: str) -> RestartPolicy:
    """Return the policy that --restart asks for. Raises UsageError."""
    from tiffin.builder.containers.run import RestartPolicy

    name, _, count = text.partition(":")
    if name not in ("no", "on-failure", "always", "unless-stopped") or (count and name != "on-failure"):
        raise UsageError(
            f'--restart "{text}" is not supported',
            remedy="use no, on-failure, on-failure:N, always or unless-stopped",
        )
    return RestartPolicy(name=name, most=_whole_number("--restart on-failure", count, least=0) if count else 0)


def _whole_number(option: str, text: str, *, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise UsageError(f'{option} "{text}" is not a whole number of at least {least}', remedy=f"write {option} 10")
    return number


def _ulimits(texts: tuple[str, ...]) -> tuple[tuple[str, int, int], ...]:
    given = tuple(text for text in texts if text != HOST_LIMITS)
    if not given:
        return ()
    from tiffin.builder.cli.options.build_values import ulimits

    return ulimits(given)


def _ports(texts: tuple[str, ...]) -> tuple[Port, ...]:
    if not texts:
        return ()
    from tiffin.builder.containers.network.ports import parse_ports  # loads socket

    return parse_ports(texts)


def _exposed(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{port.container}/{port.protocol}" for port in _ports(texts))


def _hostname(text: str, option: str) -> str:
    """Return a name that the kernel and /etc/hosts take."""
    if text and not re.fullmatch(HOSTNAME, text):
        raise UsageError(
            f'{option} "{text}" is not a valid host name', remedy="use at most 64 letters, digits, '_', '.' and '-'"
        )
    return text
