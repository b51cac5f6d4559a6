"""--memory, --cpus, --pids-limit of run, and those of build for each RUN: control groups where they may be made, else
the nearest thing and a warning.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.support.cli_runner import CliRunner, user_cli, wait_until
from tests.support.unprivileged import Users
from tiffin.builder.sandbox import cgroup

pytestmark = [pytest.mark.userns, pytest.mark.xdist_group("limits")]

GROUPS = Path("/sys/fs/cgroup")
FORKS = (
    "(for i in $(seq 60); do sleep 5 & done) 2>/dev/null; set -- /proc/[0-9]*; echo $#"  # a shell that cannot fork ends
)
HOG = "tail /dev/zero"  # keeps all it reads


@pytest.fixture(scope="module")
def delegated(cli: CliRunner) -> Iterator[list[str]]:
    """What to begin tiffin with so that its user may make groups: nothing for root, else a group given to the user."""
    if os.getuid() != 0 or not (GROUPS / "pids").is_dir():
        pytest.skip("needs root, to give control groups of version 1 away")
    if "user" not in cli.identity:
        yield []
        return
    name = f"tiffin-test-{os.getpid()}"
    groups = [GROUPS / controller / name for controller in ("memory", "pids", "cpu")]
    for group in groups:
        group.mkdir()
        subprocess.run(["chown", "-R", f"{cli.identity['user']}", group], check=True)
    try:
        yield [str(group / "cgroup.procs") for group in groups]
    finally:
        for group in groups:
            assert cgroup.remove_groups([str(group)]), list(group.iterdir())


def start(cli: CliRunner, delegated: list[str], *words: str, command: str = "run") -> subprocess.Popen[str]:
    """Run tiffin inside the groups."""
    script = 'for group in $GROUPS_TO_ENTER; do echo $$ > "$group"; done; exec "$@"'
    if not delegated:
        return cli.start(command, *words)
    argv = ["setpriv", "--reuid", str(cli.identity["user"]), "--regid", str(cli.identity["group"])]
    return subprocess.Popen(
        ["sh", "-c", script, "sh", *argv, "--clear-groups", "--", *cli.argv(command, *words)],
        env={**cli.env, "GROUPS_TO_ENTER": " ".join(delegated)},
        cwd=cli.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def groups_of(identity: str) -> list[Path]:
    return sorted(GROUPS.glob(f"*/**/tiffin-{identity[:12]}"))


def test_memory_beyond_the_limit_kills(cli: CliRunner, delegated: list[str]) -> None:
    code, out, err = finished(start(cli, delegated, "--rm", "-m", "40m", "minimal", "sh", "-c", HOG))
    assert (code, out, err) == (137, "", "")
    assert cli.left() == []


def test_processes_beyond_the_limit_are_refused(cli: CliRunner, delegated: list[str]) -> None:
    words = ["--rm", "--pids-limit", "20", "minimal", "sh", "-c", FORKS]
    code, out, err = finished(start(cli, delegated, *words))
    assert "warning" not in err
    assert code == 0 and int(out) in (19, 20), (out, err)
    assert cli.left() == []


def test_groups_are_there_while_it_runs_and_go_with_it(cli: CliRunner, delegated: list[str]) -> None:
    words = ["--rm", "--init", "-m", "64m", "--memory-swap=-1", "--cpus", "0.5", "--pids-limit", "50", "minimal"]
    process = start(cli, delegated, *words, "sh", "-c", "hostname; cat /proc/self/cgroup; echo; sleep 60")
    assert process.stdout is not None
    identity = process.stdout.readline().strip()
    groups = groups_of(identity)
    assert {group.relative_to(GROUPS).parts[0] for group in groups} == {"cpu", "memory", "pids"}
    lines = list(iter(process.stdout.readline, "\n"))
    assert {line.split(":")[1]: line.split(":")[2].strip() for line in lines}["memory"] == "/"
    memory, pids, cpu = (next(group for group in groups if name in group.parts) for name in ("memory", "pids", "cpu"))
    assert (memory / "memory.limit_in_bytes").read_text().strip() == str(64 << 20)
    assert (pids / "pids.max").read_text().strip() == "50"
    assert (cpu / "cpu.cfs_quota_us").read_text().strip() == "50000"
    process.terminate()
    finished(process)
    assert groups_of(identity) == [] and cli.left() == []


def test_each_run_of_a_build_has_groups_of_its_own(cli: CliRunner, delegated: list[str]) -> None:
    left = GROUPS / "memory/tiffin-step-999999999-1"  # of a build that was killed
    if not delegated:
        left.mkdir()
    context = cli.folder / "limited"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM minimal\nRUN cat /proc/self/cgroup\nRUN {HOG}\n")
    words = ["--progress", "plain", "--memory", "40m", "--resource", "cpu-quota=50000", str(context)]
    code, _, err = finished(start(cli, delegated, *words, command="build"))
    assert code == 1 and "exit code: 137: cannot allocate memory" in err, err
    assert " memory:/\n" in err.replace(":memory:", " memory:") and "warning" not in err, err
    assert not list(GROUPS.glob("*/**/tiffin-step-*")) and cli.left() == []


@pytest.mark.parametrize("options", [["--rm"], []], ids=["rm", "kept"])
def test_next_command_removes_the_groups_of_a_killed_one(
    options: list[str], cli: CliRunner, delegated: list[str]
) -> None:
    process = start(cli, delegated, *options, "-m", "64m", "minimal", "sh", "-c", "hostname; sleep 60")
    assert process.stdout is not None
    identity = process.stdout.readline().strip()
    assert groups_of(identity)
    state = next((cli.state / "containers").glob(f"{identity}*/state.json"))
    os.kill(json.loads(state.read_text())["pid"], signal.SIGKILL)  # without --rm that of its supervisor
    finished(process)
    wait_until(lambda: all(not (group / "cgroup.procs").read_text() for group in groups_of(identity)))
    assert cli.run("ps", "-a").returncode == 0
    assert groups_of(identity) == []
    if not options:
        assert cli.run("rm", identity).returncode == 0


def test_without_groups_each_process_is_limited_and_it_is_said(users: Users) -> None:
    """A user to whom no group was given."""
    script = f"tail /dev/zero 2>&1 | tail -n 1; nproc; {FORKS}"
    words = ["--rm", "-m", "40m", "--cpus", "1", "--pids-limit", "20", "minimal", "sh", "-c", script]
    with user_cli(users) as cli:
        done = cli.run("run", *words)
    memory, processors, forks = done.stdout.splitlines()
    assert "out of memory" in memory.lower() or "allocate" in memory.lower(), memory
    assert 5 < int(forks) < 25 and processors == "1"
    assert done.stderr.startswith("warning: no control group may be made here: ") and done.stderr.count("\n") == 1
    assert "memory is limited for each process" in done.stderr


def test_of_a_build_without_groups_it_is_said_once(users: Users) -> None:
    with user_cli(users) as cli:
        context = cli.folder / "limited"
        context.mkdir()
        (context / "Dockerfile").write_text("FROM minimal\nRUN nproc\nRUN tail /dev/zero\n")
        done = cli.run("build", "--memory", "40m", "--cpus", "1", str(context))
    assert done.returncode == 1 and done.stderr.count("no control group may be made here") == 1, done.stderr
    assert "memory is limited for each process" in done.stderr and " 1\n" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-m", "5m"], "give at least 6m"),
        (["-m", "lots"], '"lots" is not a valid size'),
        (["--memory-swap", "1g"], "--memory-swap needs --memory"),
        (["-m", "1g", "--memory-swap", "10m"], "give no less than --memory"),
        (["--cpus", "0.001"], "out of range"),
        (["--cpus", "9999"], "out of range"),
        (["--cpus", "few"], "is not a number"),
        (["--pids-limit", "x"], "--pids-limit"),
        (["--ulimit", "files=1"], 'unknown limit "files"'),
    ],
)
def test_limits_that_make_no_sense(options: list[str], message: str, cli: CliRunner) -> None:
    done = cli.run("run", *options, "minimal", "true")
    assert done.returncode == 125 and message in done.stderr


def test_ulimit(cli: CliRunner) -> None:
    assert cli.output("--ulimit", "nofile=100:200", "minimal", "sh", "-c", "ulimit -n; ulimit -Hn").split() == [
        "100",
        "200",
    ]


def test_version_2_hands_its_controllers_down() -> None:
    """With the controller that version 2 has on a hybrid machine; a process alone in its group steps out of the way."""
    trees = [tree for tree in cgroup.find_trees() if tree.version == 2 and tree.controllers]
    if os.getuid() != 0 or not trees:
        pytest.skip("needs root and a controller of version 2")
    tree, controller = trees[0], trees[0].controllers[0]
    control = Path(tree.path, "cgroup.subtree_control")
    was = control.read_text().split()
    top = Path(tree.path, f"tiffin-v2-{os.getpid()}")
    script = (
        "import os, sys\n"
        "from tiffin.builder.sandbox import cgroup\n"
        "top, controller = sys.argv[1:]\n"
        "cgroup._write(f'{top}/cgroup.procs', str(os.getpid()))\n"
        "assert cgroup._distributes(top, [controller])\n"
        "print(open('/proc/self/cgroup').read().split('0::')[1].strip())\n"
        "os.mkdir(f'{top}/made')\n"
        "print(open(f'{top}/made/cgroup.controllers').read().strip())\n"
    )
    try:
        control.write_text(f"+{controller}")
        top.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", script, str(top), controller],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
        own, given = done.stdout.split()
        assert own.startswith(f"/{top.name}/tiffin-") and given == controller, done.stderr
    finally:
        for group in (*top.glob("*/"), top):
            cgroup.remove_groups([str(group)])
        if controller not in was:
            with contextlib.suppress(OSError):  # another test's group may use it
                control.write_text(f"-{controller}")
    assert not top.exists()
