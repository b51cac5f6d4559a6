"""What the options of `tiffin run` ask for, as the API takes it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tiffin.builder.cli.options.docker_words import field_of
from tiffin.builder.cli.options.registry_values import registry_access
from tiffin.builder.cli.options.security import parse_security
from tiffin.builder.errors import UsageError
from tiffin.cache.typed import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from typing import Any

    from tiffin.builder.api.run_options import RunOptions
    from tiffin.builder.containers.mounts import Mount
    from tiffin.builder.containers.run import ContainerOptions

NO_HEALTH_CHECKS = "no health check is run"
NO_LOG = "what the command prints goes where this command prints, and is kept nowhere"
# name: (further spelling, whether it takes a value, why it has no effect; "" where nothing needs to be said)
WITHOUT_EFFECT: Mapping[str, tuple[str, bool, str]] = {
    "attach": ("-a", True, ""),  # stdout and stderr are attached, stdin is with -i
    "disable-content-trust": ("", False, ""),
    "domainname": ("", True, "the host name stands alone"),
    "expose": ("", True, ""),
    "health-cmd": ("", True, NO_HEALTH_CHECKS),
    "health-interval": ("", True, NO_HEALTH_CHECKS),
    "health-retries": ("", True, NO_HEALTH_CHECKS),
    "health-start-period": ("", True, NO_HEALTH_CHECKS),
    "health-timeout": ("", True, NO_HEALTH_CHECKS),
    "log-driver": ("", True, NO_LOG),
    "log-opt": ("", True, NO_LOG),
    "no-healthcheck": ("", False, ""),
    "oom-kill-disable": ("", False, "the kernel decides whom it ends"),
    "oom-score-adj": ("", True, "the kernel decides whom it ends"),
    "stop-timeout": ("", True, ""),
}

KEEP_ID = r"keep-id(?::((?:[ug]id=[0-9]{1,5},?)+))?"  # podman's
HOSTNAME = r"[A-Za-z0-9_.-]{0,64}"  # sethostname(2); "" is the id of the container


def many(options: Mapping[str, object], name: str) -> tuple[str, ...]:
    return cast("tuple[str, ...]", options[name])


def maybe(options: Mapping[str, object], name: str) -> str | None:
    return cast("str | None", options[name])


def run_options(options: Mapping[str, object], container: Callable[[], ContainerOptions]) -> RunOptions:
    """Return the values of options by name; `container` reads those of the container when they are asked for. Raises UsageError."""
    from tiffin.builder.api.run_options import RunOptions

    return RunOptions(
        image=str(options["image"]),
        container=container,
        name=str(options["name"]),
        remove=bool(options["remove"]),
        interactive=bool(options["interactive"]),
        groups=many(options, "groups"),
        cidfile=Path(str(options["cidfile"])) if options["cidfile"] is not None else None,
        pull=str(options["pull"]),
        platform=maybe(options, "platform") or "",
        isolation=maybe(options, "isolation") or "",
        keeps_ids=may_keep(options),
        registry=registry_access(options),
    )


def container_options(options: Mapping[str, object]) -> ContainerOptions:
    """Return what a container is asked for. Raises UsageError."""
    from tiffin.builder.containers.environment import parse_host, parse_labels, parse_variables
    from tiffin.builder.containers.mounts import ordered, parse_mount, parse_size, parse_tmpfs, parse_volume
    from tiffin.builder.containers.resolver import parse_resolver
    from tiffin.builder.containers.run import ContainerOptions

    directory = str(Path.cwd())
    mounts = [parse_volume(text, directory=directory) for text in many(options, "volumes")]
    mounts += [parse_mount(text, directory=directory) for text in many(options, "mounts")]
    mounts += [parse_tmpfs(text) for text in many(options, "tmpfs")]
    workdir = str(options["workdir"])
    if workdir and not workdir.startswith("/"):
        raise UsageError(f'--workdir "{workdir}" is not an absolute path', remedy="begin it with /")
    return ContainerOptions(
        command=many(options, "words"),
        entrypoint=maybe(options, "entrypoint"),
        variables=parse_variables(many(options, "env"), many(options, "env_files"), os.environ),
        mounts=ordered(mounts),
        workdir=workdir,
        user=str(options["user"]),
        keep=_kept_ids(options, mounts),
        hostname=_hostname(str(options["hostname"])),
        hosts=tuple(parse_host(text) for text in many(options, "hosts")),
        labels=parse_labels(many(options, "labels"), many(options, "label_files")),
        resolver=parse_resolver(many(options, "dns"), many(options, "dns_search"), many(options, "dns_options")),
        read_only=bool(options["read_only"]),
        tty=bool(options["tty"]),
        init=bool(options["init"]),
        shm_size_bytes=parse_size(str(options["shm_size"])),
        **_confinement(options),
    )


def may_keep(options: Mapping[str, object]) -> bool:
    """Whether the caller may have to have other ids than root's inside: then the answer is needed before a namespace is made."""
    return bool(options["userns"] or (options["user"] and (options["volumes"] or options["mounts"])))


def _kept_ids(options: Mapping[str, object], mounts: Sequence[Mount]) -> tuple[int, int] | None:
    """The ids that the caller has inside: with --userns=keep-id, and where the command is to run as the very caller and
    has a mount of this machine, which it could not write as anybody else. None: those of root. Raises UsageError."""
    if not may_keep(options):
        return None
    from tiffin.builder.containers.mounts import Volume, is_writable_bind

    text, own = str(options["userns"]), (os.getuid(), os.getgid())
    has_volume = any(isinstance(mount, Volume) and mount.name for mount in mounts)
    if text in ("", "host"):
        user, _, group = str(options["user"]).partition(":")
        is_own = own[0] != 0 and user == str(own[0]) and group in ("", "0", str(own[1]))
        has_bind = any(is_writable_bind(mount) for mount in mounts)
        return own if is_own and has_bind and not has_volume and text != "host" else None
    match = re.fullmatch(KEEP_ID, text)
    if match is None:
        raise UsageError(f'--userns "{text}" is not supported', remedy="use host, keep-id or keep-id:uid=N,gid=N")
    if own[0] == 0:
        raise UsageError("--userns keep-id is for users other than root", remedy="leave it out")
    if has_volume:
        raise UsageError("--userns keep-id and volumes with names do not go together", remedy="mount a directory")
    ids = dict(item.split("=") for item in (match[1] or "").split(",") if item)
    kept = int(ids.get("uid", own[0])), int(ids.get("gid", own[1]))
    return kept if any(kept) else None


def _confinement(options: Mapping[str, object]) -> dict[str, Any]:
    """The members of ContainerOptions that these options decide. Raises UsageError."""
    from tiffin.builder.containers.limits import parse_limits
    from tiffin.builder.containers.run import UNCONFINED, choose_capabilities

    security = parse_security(many(options, "security"), Path.cwd())
    privileged = bool(options["privileged"])
    added = (*many(options, "cap_add"), *(("ALL",) if privileged else ()))
    return {
        **_network(options),
        "capabilities": choose_capabilities(added, many(options, "cap_drop")),
        "privileged": privileged,
        "no_new_privs": security.no_new_privs,
        "seccomp": UNCONFINED if privileged else security.seccomp,
        "unmasked": privileged or security.unmasked,
        "ulimits": _ulimits(many(options, "ulimits")),
        "limits": parse_limits(
            memory=str(options["memory"]),
            swap=str(options["swap"]),
            cpus=str(options["cpus"]),
            pids=cast("int", options["pids"]),
        ),
    }


def _ulimits(texts: tuple[str, ...]) -> tuple[tuple[str, int, int], ...]:
    if not texts:
        return ()
    from tiffin.builder.cli.options.build_values import ulimits

    return ulimits(texts)


def _network(options: Mapping[str, object]) -> dict[str, Any]:
    text, publish = cast("str | None", options["network"]), many(options, "publish")
    everything = bool(options["publish_all"])
    if text in (None, "host", "none") and not publish and not everything:
        return {"network": text or "host", "as_machine": text == "host"}
    from tiffin.builder.containers.networks import choose_kind
    from tiffin.builder.containers.ports import parse_ports

    ports = parse_ports(publish)
    kind, tool = choose_kind(text, publishes=bool(ports) or everything)
    return {"network": kind, "network_tool": tool, "ports": ports, "publish_all": everything}


def remarks(given: Mapping[str, object]) -> list[str]:
    """What to say of options without effect."""
    return [
        f"--{name} has no effect: {reason}"
        for name, (_, _, reason) in WITHOUT_EFFECT.items()
        if reason and given.get(field_of(name))
    ]


def _hostname(text: str) -> str:
    """A name that the kernel and /etc/hosts take."""
    if not re.fullmatch(HOSTNAME, text):
        raise UsageError(
            f'--hostname "{text}" is not a valid host name', remedy="use at most 64 letters, digits, '_', '.' and '-'"
        )
    return text
