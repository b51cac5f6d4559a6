"""What the options of namespaces, resources and devices ask for, as ContainerOptions has it."""

from __future__ import annotations

from tiffin.builder.errors import UsageError
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from tiffin.builder.cli.options.containers.docker_arguments import ResourceArguments
    from tiffin.builder.cli.options.run_arguments import CreateArguments
    from tiffin.builder.containers.limits import Limits

RUNTIMES = ("", "runc", "crun", "io.containerd.runc.v2", "tiffin")
OOM_SCORES = range(-1000, 1001)
GPUS = "nvidia.com/gpu"


def confinement_of(line: CreateArguments, *, has_network: bool) -> dict[str, Any]:
    """Return the members that say what is shared with the machine. Raises UsageError."""
    from tiffin.builder.containers.confinement.namespaces import parse_namespaces, parse_sysctls

    _check_what_there_is_one_of(line)
    namespaces = parse_namespaces(
        ipc=line.ipc, pid=line.pid, uts=line.uts, cgroupns=line.cgroupns, hostname=line.hostname
    )
    members: dict[str, Any] = {"namespaces": namespaces}
    if line.sysctls:
        members["sysctls"] = parse_sysctls(line.sysctls, namespaces, has_network=has_network)
    if line.oom_score_adj:
        members["oom_score_adj"] = _oom_score(line.oom_score_adj)
    if line.device or line.gpus:
        members |= _devices(line)
    if line.annotations:
        from tiffin.builder.containers.environment import parse_labels

        members["annotations"] = parse_labels(line.annotations, ())
    return members


def limits_of(line: ResourceArguments) -> Limits:
    """Return what a container may use. Raises UsageError."""
    from tiffin.builder.containers.limits import parse_limits

    return parse_limits(
        memory=line.memory,
        swap=line.swap,
        reservation=line.reservation,
        cpus=line.cpus,
        shares=line.cpu_shares,
        period=line.cpu_period,
        quota=line.cpu_quota,
        cpuset=line.cpuset,
        nodes=line.cpuset_mems,
        pids=line.pids,
        weight=line.blkio_weight,
    )


def _check_what_there_is_one_of(line: CreateArguments) -> None:
    if line.runtime not in RUNTIMES:
        raise UsageError(
            f'--runtime "{line.runtime}" is not here: tiffin runs containers itself', remedy="leave it out, or use runc"
        )
    if line.volume_driver not in ("", "local"):
        raise UsageError(f'--volume-driver "{line.volume_driver}" is not here', remedy="use local, or leave it out")


def _oom_score(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = OOM_SCORES.stop
    if number not in OOM_SCORES:
        raise UsageError(f'--oom-score-adj "{text}" is not -1000 to 1000', remedy="write --oom-score-adj 500")
    return number


def _devices(line: CreateArguments) -> dict[str, Any]:
    from tiffin.builder.containers.confinement.devices import is_device_name, parse_device

    names = [text for text in line.device if is_device_name(text)]
    nodes = [parse_device(text) for text in line.device if not is_device_name(text)]
    return {"devices": tuple(nodes), "device_names": (*names, *_gpus(line.gpus))}


def _gpus(text: str) -> tuple[str, ...]:
    """Return the devices of --gpus all, N, device=0,1 by their names. Raises UsageError."""
    if not text:
        return ()
    text = text.strip('"')
    if text == "all" or text.isdecimal():
        return tuple(f"{GPUS}={name}" for name in (["all"] if text == "all" else range(int(text))))
    names: list[str] = []
    key = ""
    for part in text.split(","):
        name, equals, value = part.partition("=")
        key, value = (name, value) if equals else (key, name)
        if key in ("device", "count"):
            names += ["all" if value == "-1" else value] if key == "device" else map(str, range(int(value)))
        elif key not in ("driver", "capabilities") or (key == "driver" and value not in ("nvidia", "cdi")):
            raise UsageError(f'--gpus "{text}": {part} is not supported', remedy="write --gpus all or device=0")
    return tuple(f"{GPUS}={name}" for name in names or ["all"])
