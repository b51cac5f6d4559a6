"""What is seen and done from outside while a container runs: pause, top, stats, events; exec without namespaces."""

from __future__ import annotations

import json
import os
import time

import pytest

from tests.support.cli_runner import CliRunner, wait_until

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("nothing_left")]
COUNTING = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"


def begin(cli: CliRunner, *words: str) -> str:
    return cli.begin("--name", "box", *words)


def last(cli: CliRunner) -> int:
    return int((cli.run("logs", "box").stdout.split() or ["0"])[-1])


def status(cli: CliRunner) -> str:
    return cli.run("ps", "-a", "--format", "{{.Status}}").stdout.strip()


def actions(cli: CliRunner) -> list[str]:
    done = cli.run("events", "--since", "1h", "--until", "0s", "--filter", "container=box", "--format", "{{.Action}}")
    return done.stdout.splitlines()


def test_nothing_of_a_paused_container_runs(cli: CliRunner) -> None:
    begin(cli, "minimal", "sh", "-c", COUNTING)
    assert cli.run("exec", "-d", "box", "sh", "-c", "while :; do date +%s%N > /tick; sleep 0.02; done").returncode == 0
    wait_until(lambda: last(cli) > 3)
    done = cli.run("pause", "box")
    assert (done.stdout, "SIGSTOP" in done.stderr) == ("box\n", True)
    assert status(cli).endswith("(Paused)")
    count = last(cli)
    assert "is paused" in cli.run("exec", "box", "true").stderr
    assert "already paused" in cli.run("pause", "box").stderr
    time.sleep(0.3)
    assert last(cli) == count
    assert cli.run("unpause", "box").stdout == "box\n"
    wait_until(lambda: last(cli) > count)
    assert "is not paused" in cli.run("unpause", "box").stderr


@pytest.mark.parametrize("words", [("stop", "-t", "5"), ("kill",), ("restart", "-t", "5"), ("rm", "-f")])
def test_a_paused_container_can_be_ended(words: tuple[str, ...], cli: CliRunner) -> None:
    begin(cli, "minimal", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done")
    time.sleep(0.3)
    assert cli.run("pause", "box").returncode == 0
    began = time.monotonic()
    done = cli.run(*words, "box")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 5
    if words[0] == "stop":
        assert status(cli).startswith("Exited (3)")


def test_top_shows_what_runs_by_numbers_of_this_machine(cli: CliRunner) -> None:
    begin(cli, "minimal", "sh", "-c", "sleep 3331; true")
    assert cli.run("exec", "-d", "-u", "1000", "box", "sleep", "4442").returncode == 0
    lines = cli.run("top", "box").stdout.splitlines()
    assert lines[0].split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    commands = {line.split(maxsplit=7)[7]: line.split()[1] for line in lines[1:]}
    assert {"sleep 3331", "sleep 4442", "sh -c sleep 3331; true"} == set(commands)
    for command, pid in commands.items():
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            assert file.read().replace(b"\0", b" ").decode().strip() == command
    assert cli.run("top", "box", "-o", "pid,comm").stdout.split()[:2] == ["PID", "COMMAND"]
    assert cli.run("top", "box", "aux").stdout.split()[:4] == ["USER", "PID", "%CPU", "%MEM"]
    assert "not supported" in cli.run("top", "box", "-Z").stderr
    assert "leave out the PID" in cli.run("top", "box", "-o", "comm").stderr
    assert cli.run("stop", "-t", "0", "box").returncode == 0
    assert "is not running" in cli.run("top", "box").stderr


def test_stats_tell_busy_from_idle(cli: CliRunner) -> None:
    begin(cli, "minimal", "sh", "-c", "while :; do :; done")
    assert cli.run("run", "-d", "--name", "idle", "minimal", "sleep", "1000").returncode == 0
    done = cli.run("stats", "--no-stream", "--format", "json")
    rows = {row["Name"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert float(rows["box"]["CPUPerc"].rstrip("%")) > 3 > float(rows["idle"]["CPUPerc"].rstrip("%"))
    assert rows["idle"]["PIDs"] == "1"
    assert " / " in rows["idle"]["MemUsage"] and not rows["idle"]["MemUsage"].startswith("0B")
    assert cli.run("stats", "--no-stream", "box").stdout.startswith("CONTAINER ID   NAME")
    assert "No such container" in cli.run("stats", "--no-stream", "nosuch").stderr


def test_a_program_that_follows_events_sees_each_start(cli: CliRunner) -> None:
    following = cli.start("events", "--format", "{{json .}}", "--filter", "event=start", "--filter", "container=box")
    time.sleep(1)
    identity = begin(cli, "-l", "a=b", "minimal", "sleep", "1000")
    assert following.stdout is not None
    event = json.loads(following.stdout.readline())
    assert (event["status"], event["id"], event["from"]) == ("start", identity, "minimal")
    assert event["Actor"] == {"ID": identity, "Attributes": {"a": "b", "image": "minimal", "name": "box"}}
    following.terminate()
    following.communicate()


def test_the_life_of_a_container_is_told_as_docker_tells_it(cli: CliRunner) -> None:
    begin(cli, "minimal", "sleep", "1000")
    cli.run("pause", "box")
    cli.run("unpause", "box")
    cli.run("restart", "-t", "0", "box")
    cli.run("kill", "box")
    cli.run("wait", "box")
    assert cli.run("rm", "box").returncode == 0
    known = ("create", "start", "pause", "unpause", "kill", "die", "stop", "restart", "destroy")
    found = [action for action in actions(cli) if action in known]
    wanted = "create start pause unpause kill kill die stop start restart kill die destroy"
    assert " ".join(found[-13:]) in (wanted, wanted.replace("kill die", "die kill"))
    cli.run("run", "--rm", "--name", "box", "minimal", "sh", "-c", "exit 3")
    assert actions(cli)[-5:] == ["create", "attach", "start", "die", "destroy"]
    cli.run("run", "--rm", "--name", "box", "minimal", "nosuch")
    assert actions(cli)[-3:] == ["create", "attach", "destroy"]


def test_without_namespaces_a_command_joins_and_ends_with_the_first(cli: CliRunner) -> None:
    if os.geteuid() != 0 or cli.identity:
        pytest.skip("chroot takes root")
    begin(cli, "--isolation", "chroot", "--health-cmd", "test -e /srv", "--health-interval", "200ms", "minimal", "sh",
          "-c", "echo up; sleep 1000")  # fmt: skip
    assert cli.run("exec", "box", "sh", "-c", "echo $0; touch /made; exit 4", "x").returncode == 4
    assert cli.run("exec", "-i", "box", "cat", input="text").stdout == "text"
    assert cli.run("exec", "-u", "1000", "box", "id", "-u").stdout == "1000\n"
    assert cli.run("wait", "--condition", "healthy", "box").returncode == 0
    assert cli.run("exec", "-d", "box", "sleep", "5553").returncode == 0
    staying = cli.start("exec", "box", "sleep", "5554")
    time.sleep(0.5)
    assert "sleep 1000" in cli.run("top", "box").stdout
    assert cli.run("pause", "box").returncode == 0
    assert cli.run("logs", "box").stdout == "up\n"
    assert cli.run("stop", "-t", "0", "box").returncode == 0
    staying.communicate(timeout=10)
    assert staying.returncode == 137
    wait_until(lambda: not [pid for pid in filter(str.isdigit, os.listdir("/proc")) if _is(pid, b"sleep\x00555")])


def _is(pid: str, text: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().startswith(text)
    except OSError:
        return False
