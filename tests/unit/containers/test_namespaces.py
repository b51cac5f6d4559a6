"""Options of namespaces, devices and shares: what is read, and what is refused by name."""

from __future__ import annotations

import os

import pytest

from tiffin.builder.containers.confinement.asked import Namespaces
from tiffin.builder.containers.confinement.devices import is_device_name, parse_device
from tiffin.builder.containers.confinement.namespaces import parse_namespaces, parse_sysctls
from tiffin.builder.containers.limits import cpus_of, parse_limits
from tiffin.builder.errors import UsageError


def test_what_is_shared_is_named() -> None:
    asked = parse_namespaces(ipc="host", pid="host", uts="private", cgroupns="host")
    assert asked.shared == ("ipc", "pid", "cgroup")
    assert Namespaces().shared == ()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ipc": "shared"}, '--ipc "shared" is not supported'),
        ({"pid": "none"}, '--pid "none" is not supported'),
        ({"uts": "host", "hostname": "h"}, "--hostname and --uts host"),
        ({"uts": "container:db"}, '--uts "container:db" is not supported'),
    ],
)
def test_namespaces_that_are_not_here_are_refused_by_name(options: dict[str, str], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        parse_namespaces(**({"ipc": "", "pid": "", "uts": "", "cgroupns": ""} | options))


def test_namespaces_of_another_container_are_named_by_their_option() -> None:
    asked = parse_namespaces(ipc="container:db", pid="container:db", uts="", cgroupns="")
    assert (asked.of_others, asked.shared) == ((("ipc", "db"), ("pid", "db")), ())


def test_sysctls_are_those_of_the_containers_own_namespaces() -> None:
    own = Namespaces()
    texts = ["net.ipv4.ip_forward=1", "kernel/shmmax=5", "fs.mqueue.msg_max=9", "net.ipv4.ip_forward=0"]
    assert parse_sysctls(texts, own, has_network=True) == (
        ("net.ipv4.ip_forward", "0"), ("kernel.shmmax", "5"), ("fs.mqueue.msg_max", "9"),
    )  # fmt: skip
    for text, namespaces, has_network, reason in (
        ("net.core.somaxconn=1", own, False, "the network is this machine's"),
        ("kernel.sem=1", Namespaces(ipc="host"), True, "the IPC namespace is this machine's"),
        ("kernel.hostname=x", Namespaces(uts="host"), True, "the UTS namespace is this machine's"),
        ("vm.swappiness=1", own, True, "it is in no namespace"),
        ("net..core=1", own, True, "is not NAME=VALUE"),
        ("net.ipv4.ip_forward", own, True, "is not NAME=VALUE"),
    ):
        with pytest.raises(UsageError, match=reason):
            parse_sysctls([text], namespaces, has_network=has_network)


def test_devices_are_nodes_of_this_machine() -> None:
    device = parse_device("/dev/null")
    assert (device.host_path, device.path, device.access) == ("/dev/null", "/dev/null", "rwm")
    device = parse_device("/dev/null:/dev/x:rw")
    assert (device.path, device.access) == ("/dev/x", "rw")
    assert parse_device("/dev/zero:r").access == "r"
    for text, reason in (
        ("/dev/nosuch", "No such file"), ("/etc/passwd", "is not a device"), ("null", "is not /dev/NAME"),
        ("/dev/null:/dev/x:rx", '"rx" is not a mode'), ("/dev/null:x", "is not /dev/NAME"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=reason):
            parse_device(text)


def test_names_of_devices_are_told_from_paths() -> None:
    assert is_device_name("nvidia.com/gpu=all")
    assert is_device_name("vendor.com/net=eth0:1")
    assert not is_device_name("/dev/null=x")
    assert not is_device_name("gpu=all")


def test_shares_are_dockers() -> None:
    first = min(os.sched_getaffinity(0))
    limits = parse_limits(shares=512, quota=20_000, period=50_000, cpuset=str(first), reservation="8m", weight=300)
    assert limits.quota() == (20_000, 50_000)
    assert limits.controllers() == ("memory", "cpu", "cpuset", "blkio")
    assert cpus_of(str(first)) == (first,)
    for options, reason in (
        ({"cpus": "1", "quota": 5000}, "--cpus and --cpu-period"),
        ({"quota": 10}, "--cpu-quota at least 1000"),
        ({"weight": 5}, "--blkio-weight is 10 to 1000"),
        ({"cpuset": "0-4095"}, "does not have all"),
        ({"cpuset": "a"}, "is not a list of processors"),
        ({"memory": "8m", "reservation": "9m"}, "more than --memory"),
    ):
        with pytest.raises(UsageError, match=reason):
            parse_limits(**options)
