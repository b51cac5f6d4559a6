"""Health checks of containers in the background, and who waits for them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.support.cli_runner import CliRunner, wait_until

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("nothing_left")]
FAST = ("--health-interval", "500ms", "--health-retries", "3")


def begin(cli: CliRunner, *words: str) -> str:
    return cli.begin("--name", "box", *words)


def health(cli: CliRunner) -> dict[str, object]:
    found: dict[str, object] = json.loads(cli.run("inspect", "-f", "{{json .State.Health}}", "box").stdout)
    return found


def up(cli: CliRunner) -> str:
    return cli.run("ps", "-a", "--format", "{{.Status}}").stdout.strip()


def commands(cli: CliRunner, word: str) -> list[int]:
    """Processes of the machine with a word on their command line."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            text = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if word.encode() in text and str(cli.state).encode() not in text:
            found.append(int(pid))
    return found


def test_it_becomes_unhealthy_and_healthy(cli: CliRunner) -> None:
    begin(cli, *FAST, "--health-cmd", "echo out; echo err >&2; test -e /fine", "minimal", "sleep", "1000")
    assert up(cli).endswith("(health: starting)")
    assert cli.run("wait", "--condition", "unhealthy", "box").stdout == "-1\n"
    assert up(cli).endswith("(unhealthy)")
    found = health(cli)
    assert found["Status"] == "unhealthy"
    log = found["Log"]
    assert isinstance(log, list)
    assert log[0]["ExitCode"] == 1
    assert log[0]["Output"] == "out\nerr\n"
    assert cli.run("exec", "box", "touch", "/fine").returncode == 0
    assert cli.run("wait", "--condition=healthy", "box").stdout == "-1\n"
    assert (health(cli)["Status"], health(cli)["FailingStreak"]) == ("healthy", 0)
    assert up(cli).endswith("(healthy)")
    wait_until(lambda: len(health(cli)["Log"]) == 5)  # type: ignore[arg-type]
    assert cli.run("ps", "-qf", "health=healthy").stdout
    assert not cli.run("ps", "-qf", "health=none").stdout


def test_the_images_own_check_is_run_and_may_be_left_out(cli: CliRunner) -> None:
    check = {"Test": ["CMD", "test", "-e", "/srv"], "Interval": 200_000_000}
    cli.make_image(name="checked", config={"Cmd": ["sleep", "1000"], "Healthcheck": check})
    begin(cli, "checked")
    done = cli.run("inspect", "-f", "{{json .Config.Healthcheck.Test}}", "box")
    assert json.loads(done.stdout) == check["Test"]
    wait_until(lambda: health(cli)["Status"] != "starting" or bool(health(cli)["Log"]))
    assert cli.run("rm", "-f", "box").returncode == 0
    begin(cli, "--no-healthcheck", "checked")
    assert "health" not in up(cli)
    assert "Health" not in json.loads(cli.run("inspect", "box").stdout)[0]["State"]
    assert cli.run("ps", "-qf", "health=none").stdout
    done = cli.run("run", "--no-healthcheck", "--health-cmd", "true", "minimal", "true")
    assert (done.returncode, "conflicts" in done.stderr) == (125, True)


def test_a_check_that_hangs_is_killed_with_all_it_started(cli: CliRunner) -> None:
    begin(
        cli, "--health-interval", "100ms", "--health-timeout", "400ms", "--health-retries", "1",
        "--health-cmd", "sleep 7171 & sleep 7272", "minimal", "sleep", "1000",
    )  # fmt: skip
    assert cli.run("wait", "--condition", "unhealthy", "box").stdout == "-1\n"
    log = health(cli)["Log"]
    assert isinstance(log, list)
    assert (log[0]["ExitCode"], "exceeded timeout (400ms)" in log[0]["Output"]) == (-1, True)
    time.sleep(1.5)
    assert len(commands(cli, "7171")) <= 2  # of the check that runs now


def test_long_output_is_cut(cli: CliRunner) -> None:
    begin(cli, *FAST, "--health-cmd", "yes | head -c 100000", "minimal", "sleep", "1000")
    assert cli.run("wait", "--condition", "healthy", "box").returncode == 0
    log = health(cli)["Log"]
    assert isinstance(log, list)
    assert (len(log[0]["Output"]), log[0]["Output"][-3:]) == (4096, "...")


def test_failures_of_the_start_period_do_not_count(cli: CliRunner) -> None:
    begin(
        cli, "--health-cmd", "false", "--health-interval", "10m", "--health-retries", "1",
        "--health-start-period", "5m", "--health-start-interval", "100ms", "minimal", "sleep", "1000",
    )  # fmt: skip
    wait_until(lambda: len(health(cli)["Log"]) >= 3)  # type: ignore[arg-type]
    assert (health(cli)["Status"], health(cli)["FailingStreak"]) == ("starting", 0)


def test_a_restart_begins_anew_and_one_that_ended_is_not_healthy(cli: CliRunner) -> None:
    begin(cli, "--health-interval", "3s", "--health-cmd", "true", "minimal", "sleep", "1000")
    assert cli.run("wait", "--condition", "healthy", "box").returncode == 0
    assert cli.run("stop", "-t", "0", "box").returncode == 0
    assert health(cli)["Status"] == "unhealthy"
    assert up(cli).startswith("Exited (137)")
    assert cli.run("start", "box").returncode == 0
    assert up(cli).endswith("(health: starting)")
    assert cli.run("wait", "--condition", "healthy", "box").returncode == 0


def test_whoever_waits_is_told_at_the_right_time(cli: CliRunner) -> None:
    assert cli.run("create", "--name", "box", "minimal", "sh", "-c", "sleep 0.5; exit 7").returncode == 0
    running, removed = (
        cli.start("wait", "--condition", "running", "box"),
        cli.start("wait", "--condition", "removed", "box"),
    )
    assert cli.run("wait", "--condition", "created", "box").stdout == "-1\n"
    assert cli.run("start", "box").returncode == 0
    assert running.communicate(timeout=20)[0] == "-1\n"
    assert cli.run("wait", "--condition", "exited", "box").stdout == "7\n"
    assert removed.poll() is None
    assert cli.run("rm", "box").returncode == 0
    assert removed.communicate(timeout=20)[0] == "7\n"
    assert cli.run("wait", "--ignore", "box").stdout == "-1\n"
    assert "use one of" in cli.run("wait", "--condition", "sleepy", "box").stderr


def test_a_container_whose_checks_were_killed_ends(cli: CliRunner) -> None:
    often = ("--health-interval", "100ms", "--health-timeout", "200ms", "--health-retries", "100")
    begin(cli, *often, "--health-cmd", "sleep 30; true", "minimal", "sh", "-c", "trap 'exit 3' TERM; sleep 300 & wait")
    wait_until(lambda: len(health(cli)["Log"]) >= 3, seconds=20)  # type: ignore[arg-type]
    assert cli.run("stop", "-t", "20", "box").returncode == 0
    assert up(cli).startswith("Exited (3)")


def test_nobody_waits_for_a_health_that_never_comes(cli: CliRunner) -> None:
    begin(cli, "minimal", "sleep", "1000")
    assert "has no health check" in cli.run("wait", "--condition", "healthy", "box").stderr
    assert cli.run("rm", "-f", "box").returncode == 0
    begin(cli, "--health-cmd", "false", "--health-interval", "10m", "minimal", "sh", "-c", "sleep 0.5; exit 3")
    assert "has ended" in cli.run("wait", "--condition", "healthy", "box").stderr


def test_what_is_done_once_it_is_unhealthy(cli: CliRunner) -> None:
    check = ("--health-cmd", "false", "--health-interval", "100ms", "--health-retries", "1")
    begin(cli, *check, "--health-on-failure", "kill", "minimal", "sleep", "1000")
    assert cli.run("wait", "box").stdout == "137\n"
    assert cli.run("inspect", "-f", "{{.Config.HealthcheckOnFailureAction}}", "box").stdout == "kill\n"
    cli.run("rm", "-f", "box")

    term = 'trap "exit 5" TERM; while :; do sleep 0.1; done'
    begin(cli, *check, "--health-on-failure", "stop", "--restart", "always", "minimal", "sh", "-c", term)
    wait_until(lambda: cli.run("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "box").stdout == "exited 5\n")
    cli.run("rm", "-f", "box")

    stubborn = ("--stop-timeout", "1", "minimal", "sh", "-c", 'trap "" TERM; while :; do sleep 0.1; done')
    begin(cli, *check, "--health-on-failure", "restart", *stubborn)
    wait_until(lambda: cli.run("inspect", "-f", "{{.RestartCount}}", "box").stdout not in ("0\n", ""))
    refused = cli.run("run", "-d", "--health-on-failure", "kill", "minimal", "true")
    assert (refused.returncode, "add --health-cmd" in refused.stderr) == (125, True)
