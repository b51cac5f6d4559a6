"""What the specification knows and is not done here, by name."""

from __future__ import annotations

from collections.abc import Iterator

from tiffin.builder.compose.model.fields import Members
from tiffin.builder.compose.model.values import Refusal

_CPU = "limits of CPU time are given by cpus, or deploy.resources.limits.cpus"
_DEVICES = "devices of the machine are not given to services"
SERVICE_KEYS = {
    "blkio_config": "the disk is not limited",
    "cgroup": "there is no choice of control group namespaces",
    "cgroup_parent": "control groups are made below the caller's",
    "cpu_count": _CPU,
    "cpu_percent": _CPU,
    "cpu_period": _CPU,
    "cpu_quota": _CPU,
    "cpu_rt_period": _CPU,
    "cpu_rt_runtime": _CPU,
    "cpu_shares": _CPU,
    "cpuset": _CPU,
    "credential_spec": "that is of Windows",
    "device_cgroup_rules": _DEVICES,
    "devices": _DEVICES,
    "external_links": "containers of other projects are reached by a network that both are on",
    "gpus": _DEVICES,
    "ipc": "IPC namespaces are not shared",
    "isolation": "that is of Windows",
    "mac_address": "addresses of cards are not chosen",
    "mem_swappiness": "swapping is the machine's matter",
    "models": "no language models are run",
    "oom_kill_disable": "who is killed for want of memory is the machine's matter",
    "pid": "process namespaces are not shared",
    "pre_start": "write a service of its own, and depends_on with service_completed_successfully",
    "provider": "services of providers are not run",
    "runtime": "there is one runtime",
    "storage_opt": "the size of a root is not limited",
    "sysctls": "kernel parameters are not set",
    "use_api_socket": "there is no daemon",
    "uts": "UTS namespaces are not shared",
    "volumes_from": "name the volumes in both services",
}
HARMLESS = {"ipc": ("private", "shareable", ""), "cgroup": ("private",), "pid": ("",), "uts": ("",)}
NETWORK_KEYS = {
    "ipv6_address": "addresses are IPv4",
    "link_local_ips": "addresses are IPv4",
    "mac_address": "addresses of cards are not chosen",
}


def refusals(service: Members) -> Iterator[Refusal]:
    """Yield what a service asks for and does not get."""
    for key, why in SERVICE_KEYS.items():
        if service.document.get(key) and service.text(key) not in HARMLESS.get(key, ()):
            yield Refusal(what=f"{service.where}.{key}", why=why, place=service.place(key))
    if service.text("userns_mode") not in ("", "host"):
        yield Refusal(what=f"{service.where}.userns_mode", why="only host is known", place=service.place("userns_mode"))
    reservations = service.inner("deploy").inner("resources").inner("reservations")
    for key in ("devices", "generic_resources"):
        if reservations.has(key):
            yield Refusal(what=f"{reservations.where}.{key}", why=_DEVICES, place=reservations.place(key))
    networks = service.inner("networks")
    for name in networks.document:
        network = networks.inner(name)
        for key, why in NETWORK_KEYS.items():
            if network.has(key):
                yield Refusal(what=f"{network.where}.{key}", why=why, place=network.place(key))
    yield from _of_mounts(service)
    yield from _of_build(service.inner("build"))


def _of_mounts(service: Members) -> Iterator[Refusal]:
    for mount, place in service.items("volumes"):
        kind = mount.text("type")
        if kind not in ("bind", "volume", "tmpfs"):
            yield Refusal(what=f"{mount.where}: type {kind}", why="mounts are bind, volume or tmpfs", place=place)
        if mount.inner("volume").has("subpath"):
            yield Refusal(what=f"{mount.where}.volume.subpath", why="a volume is mounted whole", place=place)
        if mount.inner("bind").text("recursive") not in ("", "enabled"):
            yield Refusal(what=f"{mount.where}.bind.recursive", why="what is below comes with it", place=place)
        if mount.text("type") == "tmpfs" and mount.switch("read_only"):
            yield Refusal(what=f"{mount.where}.read_only", why="a tmpfs is written", place=place)


def _of_build(build: Members) -> Iterator[Refusal]:
    reasons = {"isolation": "that is of Windows", "privileged": "name entitlements: [security.insecure]"}
    for key, why in reasons.items():
        if build.has(key) and build.text(key) not in ("false", "default"):
            yield Refusal(what=f"{build.where}.{key}", why=why, place=build.place(key))
    for key in ("provenance", "sbom"):
        if build.has(key) and build.text(key) not in ("false", "disabled"):
            yield Refusal(what=f"{build.where}.{key}", why="attestations are not supported", place=build.place(key))
