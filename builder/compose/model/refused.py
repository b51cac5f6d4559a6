"""What the specification knows and is not done here, by name."""

from __future__ import annotations

from collections.abc import Iterator

from tiffin.builder.compose.model.fields import Members
from tiffin.builder.compose.model.values import Refusal

_SHARED = "of others a service has network_mode, ipc and pid"
SERVICE_KEYS = {
    "cgroup_parent": "control groups are made below the caller's",
    "cpu_count": "that is of Windows",
    "cpu_percent": "that is of Windows",
    "cpu_rt_period": "processors are not shared in real time",
    "cpu_rt_runtime": "processors are not shared in real time",
    "credential_spec": "that is of Windows",
    "device_cgroup_rules": "name the devices",
    "external_links": "containers of other projects are reached by a network that both are on",
    "isolation": "that is of Windows",
    "mem_swappiness": "swapping is the machine's matter",
    "models": "no language models are run",
    "oom_kill_disable": "who is killed for want of memory is the machine's matter",
    "pre_start": "write a service of its own, and depends_on with service_completed_successfully",
    "provider": "services of providers are not run",
    "storage_opt": "the size of a root is not limited",
    "use_api_socket": "there is no daemon",
}
UNSHARED_NAMESPACES = ("uts", "cgroup")
BLOCK_WEIGHT = "weight"  # all that is done of blkio_config
NETWORK_KEYS = {
    "driver_opts": "there is one driver, without options for containers",
    "gw_priority": "the first network is the way out",
    "interface_name": "cards are eth0, eth1 and so on",
    "link_local_ips": "addresses are given by ipv4_address and ipv6_address",
}


def refusals(service: Members) -> Iterator[Refusal]:
    """Yield what a service asks for and does not get."""
    for key, why in SERVICE_KEYS.items():
        if service.document.get(key):
            yield Refusal(what=f"{service.where}.{key}", why=why, place=service.place(key))
    for key in UNSHARED_NAMESPACES:
        if ":" in service.text(key):
            yield Refusal(what=f"{service.where}.{key} {service.text(key)}", why=_SHARED, place=service.place(key))
    if service.text("mac_address") and service.text("network_mode"):
        place = service.place("mac_address")
        yield Refusal(
            what=f"{service.where}.mac_address", why="it is of networks, and not of network_mode", place=place
        )
    for key, _, place in service.inner("blkio_config").document.entries():
        if key != BLOCK_WEIGHT:
            yield Refusal(what=f"{service.where}.blkio_config.{key}", why="only weight is known", place=place)
    reservations = service.inner("deploy").inner("resources").inner("reservations")
    if reservations.has("generic_resources"):
        place = reservations.place("generic_resources")
        yield Refusal(what=f"{reservations.where}.generic_resources", why="that is of clusters", place=place)
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
        if kind not in ("bind", "volume", "tmpfs", "image"):
            yield Refusal(
                what=f"{mount.where}: type {kind}", why="mounts are bind, volume, tmpfs or image", place=place
            )
        if mount.inner("bind").text("recursive") not in ("", "enabled"):
            yield Refusal(what=f"{mount.where}.bind.recursive", why="what is below comes with it", place=place)
        if mount.text("type") == "tmpfs" and mount.switch("read_only"):
            yield Refusal(what=f"{mount.where}.read_only", why="a tmpfs is written", place=place)


def _of_build(build: Members) -> Iterator[Refusal]:
    reasons = {"isolation": "that is of Windows", "privileged": "name entitlements: [security.insecure]"}
    for key, why in reasons.items():
        if build.has(key) and build.text(key) not in ("false", "default"):
            yield Refusal(what=f"{build.where}.{key}", why=why, place=build.place(key))
