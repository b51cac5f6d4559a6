"""kill -9 at random moments, a full disk, a log that nobody rotates, two commands on one container at once."""

from __future__ import annotations

import os
import random
import subprocess
import time

import pytest

from tests.support.cli_runner import CliRunner, wait_until
from tests.support.container_faults import Faults

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("nothing_left")]
ROUNDS = int(os.environ.get("TIFFIN_FAULT_ROUNDS", "12"))
ROUNDS_TO_CLEAN = 6


def test_what_was_killed_is_told_truly_and_can_be_removed(cli: CliRunner) -> None:
    faults = Faults(cli, int(os.environ.get("TIFFIN_FAULT_SEED", random.randrange(1 << 30))))
    for number in range(ROUNDS):
        faults.round()
        faults.check()
        if (number + 1) % ROUNDS_TO_CLEAN == 0:
            faults.clean()
    faults.clean()


def test_two_commands_on_one_container_at_once(cli: CliRunner) -> None:
    assert cli.run("create", "--name", "box", "minimal", "sleep", "1000").returncode == 0
    for words in (("start", "box"), ("stop", "-t", "0", "box"), ("restart", "-t", "0", "box"), ("rm", "-f", "box")):
        both = [cli.start(*words) for _ in range(3)]
        said = [process.communicate(timeout=60) for process in both]
        assert any(process.returncode == 0 for process in both), said
        assert not any("internal error" in err for _, err in said), said
        if words[0] in ("start", "restart"):
            wait_until(lambda: cli.run("ps", "--format", "{{.State}}").stdout == "running\n")
    assert cli.run("ps", "-aq").stdout == ""


def test_one_name_is_given_once(cli: CliRunner) -> None:
    both = [cli.start("run", "-d", "--name", "box", "minimal", "sleep", "1000") for _ in range(4)]
    said = [process.communicate(timeout=60) for process in both]
    assert sorted(process.returncode for process in both) == [0, 125, 125, 125], said
    assert sum("in use" in err for _, err in said) == 3


def test_a_full_disk_ends_no_container_and_its_log_stays_whole(cli: CliRunner) -> None:
    if os.geteuid() != 0:
        pytest.skip("a small disk takes root")
    place = cli.folder / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)], check=True)
    try:
        subprocess.run(["cp", "-a", f"{cli.state}/.", str(place)], check=True)
        cli.own(place)
        argv = [cli.python, "-m", "tiffin", "--root", str(place)]

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(  # type: ignore[call-overload,no-any-return]
                [*argv, *words], capture_output=True, text=True, timeout=60, check=False, **cli.options()
            )

        began = run("run", "-d", "--name", "box", "minimal", "sh", "-c",
                    "while :; do echo 0123456789012345678901234567890123456789; done")  # fmt: skip
        assert began.returncode == 0, began.stderr
        wait_until(lambda: os.statvfs(place).f_bavail == 0)
        time.sleep(0.5)
        assert run("ps", "--format", "{{.State}}").stdout == "running\n"
        lines = run("logs", "box").stdout.splitlines()
        assert len(lines) > 1000
        assert set(lines) == {"0123456789012345678901234567890123456789"}
        assert run("stop", "-t", "0", "box").returncode == 0
        assert run("rm", "box").returncode == 0, "and it can be removed"
        assert run("run", "--rm", "minimal", "echo", "again").stdout == "again\n"
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()


def test_a_log_that_nobody_rotates_is_read_from_its_end_at_once(cli: CliRunner) -> None:
    command = "i=0; while [ $i -lt 200000 ]; do echo line-$i; i=$((i+1)); done; echo end"
    assert cli.run("run", "-d", "--name", "box", "minimal", "sh", "-c", command).returncode == 0
    assert cli.run("wait", "box").stdout == "0\n"
    assert cli.run("logs", "-n", "2", "box").stdout == "line-199999\nend\n"
    bounded = ("--log-opt", "max-size=10k", "--log-opt", "max-file=2")
    assert cli.run("run", "-d", "--name", "small", *bounded, "minimal", "sh", "-c", command).returncode == 0
    assert cli.run("wait", "small").stdout == "0\n"
    identity = cli.run("inspect", "-f", "{{.Id}}", "small").stdout.strip()
    folder = cli.state / "containers" / identity
    assert sum(path.stat().st_size for path in folder.glob("container.log*")) < 25_000
    assert cli.run("logs", "-n", "1", "small").stdout == "end\n"


def test_a_clock_that_jumps_hides_no_container(cli: CliRunner) -> None:
    shifted = ["unshare", "--time", "--boottime", "100000", "--monotonic", "100000", "--fork"]
    if subprocess.run([*shifted, "true"], check=False, capture_output=True).returncode:
        pytest.skip("another clock takes root, and time namespaces")
    if cli.identity:
        ids = cli.identity
        shifted += ["setpriv", f"--reuid={ids['user']}", f"--regid={ids['group']}", "--clear-groups"]

    def run(*words: str) -> str:
        return subprocess.run(
            [*shifted, *cli.argv(*words)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env=dict(cli.env),
            cwd=cli.folder,
        ).stdout

    assert cli.run("run", "-d", "--name", "box", "minimal", "sleep", "1000").returncode == 0
    assert run("ps", "--format", "{{.State}}") == "running\n"
    assert run("exec", "box", "echo", "here") == "here\n"
    run("stop", "-t", "0", "box")
    run("start", "box")
    assert cli.run("exec", "box", "echo", "here").stdout == "here\n"
