"""Which hierarchies a process sees, and where its groups lie in them."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from tiffin.builder.containers.limits import has_user_manager, parse_limits
from tiffin.builder.sandbox import cgroup
from tiffin.builder.sandbox.cgroup import Tree, change_limits, find_trees, has_killed, make_groups, remove_groups
from tiffin.builder.sandbox.cgroup_limits import Limits

HYBRID = """\
31 24 0:27 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory
32 24 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 24 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
34 24 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
"""


def written(folder: Path, cgroups: str, mountinfo: str) -> str:
    (folder / "cgroup").write_text(cgroups)
    (folder / "mountinfo").write_text(mountinfo)
    return str(folder)


def test_hybrid_machine(tmp_path: Path) -> None:
    own = "4:memory:/a/b\n2:cpu,cpuacct:/\n1:name=systemd:/x\n0::/u\n"
    trees = {tree.path: tree for tree in find_trees(written(tmp_path, own, HYBRID))}
    memory = trees["/sys/fs/cgroup/memory"]
    assert (memory.version, memory.controllers) == (1, ("memory",))
    assert list(memory.lineage()) == [f"/sys/fs/cgroup/memory{end}" for end in ("/a/b", "/a", "")]
    assert trees["/sys/fs/cgroup/cpu,cpuacct"].controllers == ("cpu", "cpuacct")
    assert trees["/sys/fs/cgroup/unified"].version == 2


def test_mount_that_shows_a_part_of_the_tree(tmp_path: Path) -> None:
    """In a container: the mount's root is a group further down, and ours is below it, or hidden from it."""
    mount = f"31 24 0:27 /pod/one {tmp_path} ro - cgroup2 cgroup2 rw\n"
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (tree,) = find_trees(written(tmp_path, "0::/pod/one/here\n", mount))
    assert tree.controllers == ("cpu", "memory", "pids")
    assert list(tree.lineage()) == [f"{tmp_path}/here", str(tmp_path)]
    (tree,) = find_trees(written(tmp_path, "0::/elsewhere\n", mount))
    assert list(tree.lineage()) == [str(tmp_path)]


@pytest.mark.parametrize(
    ("memory", "swap", "cpus", "pids", "wanted"),
    [
        ("", "", "", 0, Limits()),
        ("64m", "", "", -1, Limits(memory_bytes=64 << 20, swap_bytes=128 << 20)),
        ("64m", "64m", "", 0, Limits(memory_bytes=64 << 20, swap_bytes=64 << 20)),
        ("64m", "-1", "1", 9, Limits(memory_bytes=64 << 20, swap_bytes=-1, cpus=1.0, pids=9)),
    ],
)
def test_limits(memory: str, swap: str, cpus: str, pids: int, wanted: Limits) -> None:
    assert parse_limits(memory=memory, swap=swap, cpus=cpus, pids=pids) == wanted


def test_user_manager_is_there_when_it_answers(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert not has_user_manager({}) and not has_user_manager(environ)
    (tmp_path / "systemd").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as manager:
        manager.bind(str(tmp_path / "systemd/private"))
        assert not has_user_manager(environ)  # dead: nobody listens
        manager.listen()
        assert has_user_manager(environ)


def group(path: Path, **files: str) -> Path:
    """A directory as the kernel shows a group: `a__b` is the file a.b."""
    path.mkdir(parents=True)
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)
    return path


def shown(path: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in path.iterdir() if file.read_text()}


def test_limits_of_version_2_are_written_as_the_kernel_reads_them(tmp_path: Path) -> None:
    names = ("max", "low", "swap__max")
    files = {f"memory__{name}": "" for name in names} | {"cpu__max": "", "cpu__weight": "", "pids__max": ""}
    path = group(tmp_path / "g", cgroup__controllers="", cpuset__cpus="", io__stat="", io__weight="", **files)
    limits = Limits(
        memory_bytes=100,
        swap_bytes=150,
        reserved_bytes=50,
        cpus=1.5,
        cpu_shares=1024,
        cpuset="0-1",
        pids=9,
        blkio_weight=500,
    )
    assert change_limits([str(path)], limits) == ()
    assert shown(path) == {
        "memory.max": "100",
        "memory.low": "50",
        "memory.swap.max": "50",
        "cpu.max": "150000 100000",
        "cpu.weight": "39",
        "pids.max": "9",
        "cpuset.cpus": "0-1",
        "io.weight": "4950",
    }
    assert change_limits([str(path)], Limits(memory_bytes=100, swap_bytes=-1)) == ()
    assert shown(path)["memory.swap.max"] == "max"


def test_limits_of_version_1_are_written_as_the_kernel_reads_them(tmp_path: Path) -> None:
    memory = {f"memory__{name}": "" for name in ("limit_in_bytes", "soft_limit_in_bytes", "memsw__limit_in_bytes")}
    cpu = {f"cpu__{name}": "" for name in ("cfs_quota_us", "cfs_period_us", "shares")}
    group(tmp_path / "tree", cpuset__cpus="0-3", cpuset__mems="0")
    blkio = {"blkio__throttle__io_serviced": "", "blkio__weight": ""}
    path = group(tmp_path / "tree/g", cpuset__cpus="", cpuset__mems="", **memory, **cpu, **blkio)
    limits = Limits(
        memory_bytes=100,
        swap_bytes=150,
        reserved_bytes=50,
        cpu_quota=5000,
        cpu_period=20000,
        cpu_shares=7,
        cpuset="1",
        pids=4,
        blkio_weight=300,
    )
    assert change_limits([str(path)], limits) == ("pids",)
    assert shown(path) == {
        "memory.limit_in_bytes": "100",
        "memory.soft_limit_in_bytes": "50",
        "memory.memsw.limit_in_bytes": "150",
        "cpu.cfs_quota_us": "5000",
        "cpu.cfs_period_us": "20000",
        "cpu.shares": "7",
        "cpuset.cpus": "1",
        "cpuset.mems": "0",
        "blkio.weight": "300",
    }


def test_what_cannot_be_limited_is_missing_and_leaves_no_group(tmp_path: Path) -> None:
    """A kernel would put files into a new group; here it stays without, as where a controller does not let it."""
    parent = group(tmp_path / "tree", cgroup__procs="", cgroup__subtree_control="", cgroup__controllers="memory pids")
    tree = Tree(path=str(parent), top="/", own="/", controllers=("memory", "pids"), version=2)
    made = make_groups(Limits(memory_bytes=5, pids=3, cpus=1), "box", [tree])
    assert (made.paths, made.missing) == ((), ("memory", "cpu", "pids"))
    assert not (parent / "box").exists()
    assert (parent / "cgroup.subtree_control").read_text() == "+memory +pids"
    assert make_groups(Limits(blkio_weight=10), "box", [tree]).missing == ("blkio",)


def test_controllers_that_are_not_there_are_not_handed_on(tmp_path: Path) -> None:
    parent = group(tmp_path / "tree", cgroup__procs="", cgroup__subtree_control="", cgroup__controllers="pids")
    tree = Tree(path=str(parent), top="/", own="/", controllers=("memory",), version=2)
    assert make_groups(Limits(memory_bytes=5), "box", [tree]).missing == ("memory",)
    assert (parent / "cgroup.subtree_control").read_text() == "" and not (parent / "box").exists()


def test_groups_go_with_their_processes_and_one_that_stays_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert remove_groups([str(group(tmp_path / "empty")), str(tmp_path / "gone")])
    assert not (tmp_path / "empty").exists()
    assert not remove_groups([str(group(tmp_path / "full", file="x"))])

    def busy(path: str, **_: object) -> None:
        raise OSError(errno.EBUSY, "busy")

    monkeypatch.setattr(cgroup, "REMOVE_WAIT_SECONDS", 0.01)
    with monkeypatch.context() as patched:
        patched.setattr(os, "rmdir", busy)
        assert not remove_groups([str(group(tmp_path / "busy"))])


@pytest.mark.parametrize(
    ("name", "text", "killed"),
    [
        ("memory.events", "low 0\noom_kill 1\n", True),
        ("memory.events", "oom 3\noom_kill 0\n", False),
        ("memory.oom_control", "under_oom 0\noom_kill 2\n", True),
        ("other", "oom_kill 1\n", False),
    ],
)
def test_a_kill_for_want_of_memory_is_seen(name: str, text: str, killed: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert has_killed(str(tmp_path)) is killed
