"""Which hierarchies a process sees, and where its groups lie in them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tiffin.builder.containers.limits import has_user_manager, parse_limits
from tiffin.builder.sandbox.cgroup import find_trees
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
