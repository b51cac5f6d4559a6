"""--memory, --cpus and --resource of build: what they say together, and what they refuse."""

from __future__ import annotations

import pytest

from tiffin.builder.cli.options.build_arguments import BuildArguments
from tiffin.builder.cli.options.build_values import build_options
from tiffin.builder.errors import UsageError
from tiffin.builder.sandbox.cgroup_limits import Limits


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, None),
        ({"memory": "64m"}, Limits(memory_bytes=64 << 20, swap_bytes=128 << 20)),
        ({"memory": "64m", "resource": ("memory=1g", "memory-swap=-1")}, Limits(memory_bytes=1 << 30, swap_bytes=-1)),
        ({"resource": ("cpu-quota = 50000", "cpuset-cpus=0")}, Limits(cpu_quota=50000, cpuset="0")),
        ({"cpus": "1", "cpu_shares": 512}, Limits(cpus=1.0, cpu_shares=512)),
    ],
)
def test_limits_of_each_run(given: dict[str, object], wanted: Limits | None) -> None:
    assert build_options(BuildArguments(context=".", **given)).limits == wanted


@pytest.mark.parametrize(
    ("resource", "message"),
    [
        ("memory", 'invalid resource "memory", expected key=value'),
        ("cpu-quotas=1", 'unknown resource "cpu-quotas"; did you mean "cpu-quota"'),
        ("cpu-quota=half", 'invalid value "half" for resource cpu-quota'),
        ("memory=1k", "--memory 1k is less than a container can have"),
        ("memory-swap=1g", "--memory-swap needs --memory"),
    ],
)
def test_what_resource_refuses(resource: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_options(BuildArguments(context=".", resource=(resource,)))
    assert message in str(caught.value)
