"""What a container was made with comes back as it was; keys, signals and times as people write them."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tiffin.builder.api.containers.logs import parse_moment
from tiffin.builder.containers.lifecycle.attachment import parse_detach_keys
from tiffin.builder.containers.lifecycle.processes import parse_signal
from tiffin.builder.containers.lifecycle.record import FILE, ContainerRecord, read_sandbox, write_sandbox
from tiffin.builder.containers.mounts import VolumeMount
from tiffin.builder.containers.network.published import Port
from tiffin.builder.containers.network.resolver import Resolver
from tiffin.builder.containers.run import ContainerOptions, RestartPolicy
from tiffin.builder.errors import CorruptError, UsageError
from tiffin.builder.oci.config import RunConfig
from tiffin.builder.sandbox.cgroup_limits import Limits
from tiffin.builder.sandbox.child.spec import Bind, SandboxSpec, Tmpfs

OPTIONS = ContainerOptions(
    command=("sh", "-c", "x"),
    entrypoint="",
    variables=(("A", "b"), ("GONE", None), ("ODD", "\udcff")),
    mounts=(
        Bind(host_path="/h", path="/p", read_only=True),
        VolumeMount(name="data", path="/data"),
        Tmpfs(path="/t", size_bytes=5),
    ),
    keep=(1000, 1001),
    labels={"class": "x", "map": "y"},
    hosts=(("db", "127.0.0.1"),),
    ports=(Port(container=80, host=8080),),
    resolver=Resolver(servers=("192.0.2.1",)),
    ulimits=(("nofile", 10, 20),),
    limits=Limits(memory_bytes=1 << 20, cpus=1.5),
    restart=RestartPolicy(name="on-failure", most=3),
    stop_signal="USR1",
)
RECORD = ContainerRecord(
    options=OPTIONS,
    config=RunConfig(user="app", env=("X=y",), cmd=("run",), labels={"a": "b"}),
    isolation="",
    id_map="tag",
    groups=("wheel",),
    interactive=True,
)


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    RECORD.write(tmp_path)
    assert ContainerRecord.read(tmp_path) == RECORD


def test_members_of_later_versions_are_left_out(tmp_path: Path) -> None:
    RECORD.write(tmp_path)
    text = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text(text.replace('"interactive":', '"unheard_of": 1, "interactive":', 1))
    assert ContainerRecord.read(tmp_path) == RECORD


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"config": {}}', '{"config": {}, "options": {"class": "os"}}']
)
def test_damage_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(CorruptError, match="missing or damaged"):
        ContainerRecord.read(tmp_path)


def test_a_sandbox_comes_back_without_its_layers(tmp_path: Path) -> None:
    spec = SandboxSpec(
        scratch_dir="/s",
        lower_dirs=("/l",),
        upper_dir="/u",
        work_dir="/w",
        argv=("a",),
        env=("A=b",),
        mounts=(Bind(host_path="/h", path="/p"),),
    )
    write_sandbox(tmp_path, spec)
    found = read_sandbox(tmp_path)
    assert (found.lower_dirs, found.argv, found.mounts) == ((), ("a",), spec.mounts)
    (tmp_path / "sandbox.json").write_text("[]")
    with pytest.raises(CorruptError):
        read_sandbox(tmp_path)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("TERM", 15),
        ("sigterm", 15),
        ("9", 9),
        ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("RTMAX-1", signal.SIGRTMAX - 1),
    ],
)
def test_signals(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "999", "NOPE", "TERM+x", "DFL", "_IGN", "-9"])
def test_what_is_not_a_signal(text: str) -> None:
    with pytest.raises(UsageError, match="is not a signal"):
        parse_signal(text)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("ctrl-A", b"\x01"),
        ("x", b"x"),
        ("ctrl-],a", b"\x1da"),
        ("ctrl-@", b"\0"),
        ("", b""),
    ],
)
def test_keys_that_detach(text: str, keys: bytes) -> None:
    assert parse_detach_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-1", "ab", "ctrl-p,", "é"])
def test_what_is_not_a_key(text: str) -> None:
    with pytest.raises(UsageError, match="is not a key"):
        parse_detach_keys(text)


def test_moments() -> None:
    assert parse_moment("1700000000") == 1_700_000_000_000_000_000
    assert parse_moment("1700000000.5") == 1_700_000_000_500_000_000
    assert parse_moment("2023-11-14T22:13:20Z") == 1_700_000_000_000_000_000
    assert parse_moment("2023-11-14T22:13:20.25Z") == 1_700_000_000_250_000_000
    assert parse_moment("2023-11-14T23:13:20+01:00") == 1_700_000_000_000_000_000
    assert parse_moment("2023-11-14T21:13:20-01:00") == 1_700_000_000_000_000_000
    assert abs(parse_moment("1h30m10s") - (time.time_ns() - 5410 * 1_000_000_000)) < 1_000_000_000


@pytest.mark.parametrize("text", ["", "soon", "10x", "2023-13-01T00:00:00Z", "2023-11-14T", "T", "-5"])
def test_what_is_not_a_moment(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time"):
        parse_moment(text)


@pytest.mark.parametrize(
    ("policy", "code", "restarts", "wanted"),
    [
        (RestartPolicy(), 1, 0, False),
        (RestartPolicy(name="always"), 0, 99, True),
        (RestartPolicy(name="unless-stopped"), 0, 99, True),
        (RestartPolicy(name="on-failure"), 0, 0, False),
        (RestartPolicy(name="on-failure"), 3, 99, True),
        (RestartPolicy(name="on-failure", most=2), 3, 1, True),
        (RestartPolicy(name="on-failure", most=2), 3, 2, False),
    ],
)
def test_when_it_is_started_again(policy: RestartPolicy, code: int, restarts: int, wanted: bool) -> None:
    assert policy.wants(code, restarts) is wanted
