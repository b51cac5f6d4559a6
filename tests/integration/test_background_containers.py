"""Containers in the background: their life, their log, who is attached to them, and other commands in them."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.cli_runner import CliRunner, wait_until

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("nothing_left")]
LOOP = "while :; do sleep 0.02; done"
BIG_LINES = 60_000


def begin(cli: CliRunner, *words: str, name: str = "box") -> str:
    return cli.begin("--name", name, *words)


def status(cli: CliRunner, name: str = "box") -> str:
    done = cli.run("ps", "-a", "--filter", f"name={name}", "--format", "{{.State}} {{.Status}}")
    return done.stdout.strip()


def logs_bytes(cli: CliRunner) -> bytes:
    done: subprocess.CompletedProcess[bytes] = subprocess.run(  # type: ignore[call-overload]
        cli.argv("logs", "box"), capture_output=True, timeout=30, check=True, **cli.options()
    )
    return done.stdout


def supervisor(cli: CliRunner, identity: str) -> int:
    return int(json.loads((cli.state / "containers" / identity / "state.json").read_text())["pid"])


def test_it_outlives_the_command_that_began_it(cli: CliRunner) -> None:
    identity = begin(cli, "minimal", "sh", "-c", f"echo out; echo err >&2; {LOOP}")
    assert len(identity) == 64
    assert status(cli).startswith("running Up ")
    wait_until(lambda: "err" in cli.run("logs", "box").stderr)
    done = cli.run("logs", "box")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert cli.run("stop", "-t", "0", "box").stdout == "box\n"
    assert status(cli).startswith("exited Exited (137) ")


def test_its_id_comes_at_once_though_the_output_is_a_pipe(cli: CliRunner) -> None:
    began = time.monotonic()
    command = " ".join(cli.argv("run", "-d", "--rm", "--name", "box", "minimal", "sleep", "300"))
    done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]
        ["sh", "-c", f"id=$({command} 2>&1); echo $id"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        **cli.options(),
    )
    assert len(done.stdout.strip()) == 64
    assert time.monotonic() - began < 20
    assert cli.run("kill", "box").returncode == 0
    wait_until(lambda: cli.run("ps", "-aq").stdout == "")


@pytest.mark.parametrize(
    ("words", "code", "text"), [(["nosuch"], 127, "not found in $PATH"), (["/etc/passwd"], 126, "permission denied")]
)
def test_a_command_that_cannot_be_begun_is_told_at_once(words: list[str], code: int, text: str, cli: CliRunner) -> None:
    done = cli.run("run", "-d", "--name", "box", "minimal", *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert text in done.stderr
    assert cli.run("logs", "box").stdout == ""


def test_stop_asks_first_and_the_code_is_the_commands(cli: CliRunner) -> None:
    begin(cli, "minimal", "sh", "-c", f"trap 'echo bye; exit 3' TERM; echo ready; {LOOP}")
    wait_until(lambda: cli.run("logs", "box").stdout == "ready\n")
    assert cli.run("stop", "box").returncode == 0
    assert status(cli).startswith("exited Exited (3) ")
    assert cli.run("logs", "box").stdout == "ready\nbye\n"
    assert cli.run("wait", "box").stdout == "3\n"
    assert cli.run("stop", "box").returncode == 0  # again is fine


@pytest.mark.parametrize(("option", "name"), [("--stop-signal=USR1", "USR1"), ("--stop-signal=SIGRTMIN+3", "37")])
def test_stop_sends_the_signal_that_was_asked_for(option: str, name: str, cli: CliRunner) -> None:
    begin(cli, option, "minimal", "sh", "-c", f"trap 'exit 9' {name}; echo ready; {LOOP}")
    wait_until(lambda: cli.run("logs", "box").stdout == "ready\n")
    assert cli.run("stop", "box").returncode == 0
    assert status(cli).startswith("exited Exited (9) ")


def test_kill_sends_any_signal_and_harms_nothing_else(cli: CliRunner) -> None:
    begin(cli, "minimal", "sh", "-c", f"trap 'echo hup' HUP; echo ready; {LOOP}")
    wait_until(lambda: cli.run("logs", "box").stdout == "ready\n")
    assert cli.run("kill", "-s", "HUP", "box").returncode == 0
    wait_until(lambda: cli.run("logs", "box").stdout == "ready\nhup\n")
    assert status(cli).startswith("running")
    done = cli.run("kill", "-s", "NONSENSE", "box")
    assert done.returncode
    assert "is not a signal" in done.stderr
    assert cli.run("kill", "box").returncode == 0
    wait_until(lambda: status(cli).startswith("exited Exited (137) "))
    assert "is not running" in cli.run("kill", "box").stderr


def test_what_it_changed_is_there_when_it_is_started_again(cli: CliRunner) -> None:
    begin(cli, "minimal", "sh", "-c", "cat /kept 2>/dev/null; echo x >> /kept; chown 7:8 /kept; ls -ln /kept | wc -l")
    assert cli.run("wait", "box").stdout == "0\n"
    assert cli.run("start", "box").stdout == "box\n"
    assert cli.run("wait", "box").stdout == "0\n"
    wait_until(lambda: status(cli).startswith("exited"))
    assert cli.run("logs", "box").stdout == "1\nx\n1\n"
    assert cli.run("start", "box").returncode == 0


def test_a_container_that_is_made_is_started_later(cli: CliRunner) -> None:
    made = cli.run("create", "--name", "box", "-e", "A=b", "-w", "/tmp", "minimal", "sh", "-c", "echo $A; pwd; exit 4")
    assert made.returncode == 0, made.stderr
    assert status(cli) == "created Created"
    assert cli.run("ps", "-q").stdout == ""
    done = cli.run("start", "-a", "box")
    assert (done.returncode, done.stdout, done.stderr) == (4, "b\n/tmp\n", "")
    assert cli.run("logs", "box").stdout == "b\n/tmp\n"
    again = cli.run("start", "-a", made.stdout.strip())
    assert (again.returncode, again.stdout) == (4, "b\n/tmp\n")


def test_pipes_lose_nothing(cli: CliRunner) -> None:
    text = "".join(f"{number}\n" for number in range(BIG_LINES))
    assert cli.run("create", "-i", "--name", "box", "minimal", "cat").returncode == 0
    done = cli.run("start", "-ai", "box", input=text)
    assert done.stdout == text
    assert cli.run("logs", "box").stdout == text
    assert cli.run("logs", "-n", "2", "box").stdout == text[text.rstrip().rfind("\n", 0, -7) + 1 :][-12:]


def test_bytes_of_no_encoding_are_kept_in_the_log(cli: CliRunner) -> None:
    begin(cli, "minimal", "sh", "-c", r"printf '\377\000\n\303\251 no end'")
    assert cli.run("wait", "box").stdout == "0\n"
    raw = logs_bytes(cli)
    assert raw == b"\xff\x00\n\xc3\xa9 no end"


def test_logs_follow_and_have_times(cli: CliRunner) -> None:
    begin(cli, "minimal", "sh", "-c", "for n in 1 2 3; do echo $n; sleep 0.3; done")
    done = cli.run("logs", "-f", "box")
    assert done.stdout == "1\n2\n3\n"
    stamped = cli.run("logs", "-t", "box").stdout.splitlines()
    assert [line.split()[1] for line in stamped] == ["1", "2", "3"]
    assert cli.run("logs", "--since", stamped[1].split()[0], "box").stdout == "2\n3\n"
    assert cli.run("logs", "--until", stamped[1].split()[0], "box").stdout == "1\n2\n"
    assert cli.run("logs", "--since", "0s", "box").stdout == ""
    assert "is not a time" in cli.run("logs", "--since", "soon", "box").stderr


def test_the_log_is_bounded_where_that_is_asked_for(cli: CliRunner) -> None:
    identity = begin(
        cli, "--log-opt", "max-size=20k", "--log-opt", "max-file=3", "minimal", "sh", "-c", "seq 5000; echo end"
    )
    assert cli.run("wait", "box").stdout == "0\n"
    files = sorted((cli.state / "containers" / identity).glob("container.log*"))
    assert [path.name for path in files] == ["container.log", "container.log.1", "container.log.2"]
    assert all(path.stat().st_size <= 20 << 10 for path in files)
    lines = cli.run("logs", "box").stdout.split()
    assert lines[-1] == "end"
    assert lines[:-1] == [str(number) for number in range(5000 - len(lines) + 2, 5001)]


@pytest.mark.parametrize(
    ("policy", "code", "runs"),
    [("no", 1, 1), ("on-failure:2", 1, 3), ("on-failure", 0, 1), ("on-failure:5", 0, 1)],
)
def test_it_is_started_again_as_its_policy_says(policy: str, code: int, runs: int, cli: CliRunner) -> None:
    begin(cli, "--restart", policy, "minimal", "sh", "-c", f"echo run; exit {code}")
    wait_until(lambda: status(cli).startswith("exited"))
    assert cli.run("logs", "box").stdout == "run\n" * runs
    assert status(cli).startswith(f"exited Exited ({code}) ")


def test_a_restarted_one_leaves_no_zombies(cli: CliRunner) -> None:
    script = "echo >> /n; test $(wc -l < /n) = 4 && touch /4 && exec sleep 300; exit 1"
    identity = begin(cli, "--restart", "on-failure:3", "minimal", "sh", "-c", script)
    wait_until(lambda: cli.run("exec", "box", "test", "-e", "/4").returncode == 0)
    children = Path(f"/proc/{supervisor(cli, identity)}/task/{supervisor(cli, identity)}/children").read_text().split()
    assert len(children) == 1
    assert json.loads(cli.run("inspect", "box").stdout)[0]["RestartCount"] == 3


def test_inspect_tells_what_clients_ask_for(cli: CliRunner) -> None:
    begin(
        cli,
        "-e",
        "A=b",
        "-l",
        "k=v",
        "-v",
        "/tmp:/t:ro",
        "-v",
        "data:/d",
        "--restart",
        "always",
        "minimal",
        "sh",
        "-c",
        LOOP,
    )
    found = json.loads(cli.run("inspect", "box").stdout)[0]
    assert found["State"]["Status"] == "running"
    assert Path(f"/proc/{found['State']['Pid']}").is_dir()
    assert "A=b" in found["Config"]["Env"]
    assert found["Config"]["Labels"] == {"k": "v"}
    assert {(mount["Type"], mount["Destination"], mount["RW"]) for mount in found["Mounts"]} == {
        ("volume", "/d", True),
        ("bind", "/t", False),
    }
    assert found["HostConfig"]["RestartPolicy"] == {"Name": "always", "MaximumRetryCount": 0}
    done = cli.run("inspect", "-f", "{{.State.Running}} {{.Config.User}} {{.HostConfig.AutoRemove}}", "box")
    assert done.stdout == "true  false\n"


def test_stop_ends_one_that_is_started_again_always(cli: CliRunner) -> None:
    begin(cli, "--restart", "always", "minimal", "sh", "-c", "echo run; exit 0")
    wait_until(lambda: cli.run("logs", "box").stdout.count("run") >= 3)
    assert cli.run("stop", "-t", "1", "box").returncode == 0
    assert status(cli).startswith("exited")


def test_a_killed_supervisor_is_told_truly(cli: CliRunner) -> None:
    identity = begin(cli, "minimal", "sh", "-c", LOOP)
    os.kill(supervisor(cli, identity), signal.SIGKILL)
    wait_until(lambda: not cli.processes())
    assert status(cli).startswith("dead")
    assert cli.run("wait", "box").stdout == "137\n"
    assert cli.run("start", "box").returncode == 0
    assert status(cli).startswith("running")


def test_another_name(cli: CliRunner) -> None:
    begin(cli, "minimal", "sh", "-c", LOOP)
    assert cli.run("rename", "box", "crate").returncode == 0
    assert cli.run("stop", "-t", "0", "crate").returncode == 0
    assert status(cli, "crate").startswith("exited")
    assert "No such container: box" in cli.run("start", "box").stderr


def test_exec_sees_what_the_command_sees(cli: CliRunner) -> None:
    begin(cli, "-e", "A=b", "-w", "/tmp", "-h", "inside", "minimal", "sh", "-c", f"echo x > /made; {LOOP}")
    done = cli.run(
        "exec",
        "-e",
        "C=d",
        "box",
        "sh",
        "-c",
        "cat /made; echo $A $C; pwd; hostname; cat /proc/1/cmdline | tr '\\0' ' '",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:4] == ["x", "b d", "/tmp", "inside"]
    assert "sh -c" in done.stdout
    assert cli.run("exec", "box", "sh", "-c", "exit 7").returncode == 7
    assert cli.run("exec", "-i", "box", "cat", input="typed\n").stdout == "typed\n"
    missing = cli.run("exec", "box", "nosuch")
    assert (missing.returncode, "not found in $PATH" in missing.stderr) == (127, True)
    assert cli.run("exec", "-w", "/nosuch", "box", "true").returncode == 126
    assert "No such container" in cli.run("exec", "none", "true").stderr


def test_exec_has_the_walls_of_the_container(cli: CliRunner) -> None:
    begin(
        cli,
        "--cap-drop",
        "ALL",
        "--network",
        "none",
        "minimal",
        "sh",
        "-c",
        f"grep -E 'Cap|Seccomp:|NoNew' /proc/self/status > /own; {LOOP}",
    )
    wait_until(lambda: cli.run("exec", "box", "test", "-s", "/own").returncode == 0)
    done = cli.run(
        "exec", "box", "sh", "-c", "grep -E 'Cap|Seccomp:|NoNew' /proc/self/status | diff - /own && echo same"
    )
    assert done.stdout == "same\n", done.stdout
    names = ("mnt", "pid", "ipc", "uts", "net", "user")
    script = "; ".join(
        f"test $(readlink /proc/self/ns/{name}) = $(readlink /proc/1/ns/{name}) && echo {name}" for name in names
    )
    assert cli.run("exec", "box", "sh", "-c", script).stdout.split() == list(names)


def test_users_and_owners_are_the_containers_in_exec(cli: CliRunner) -> None:
    begin(cli, "minimal", "sh", "-c", f"echo x > /secret; chown 5:6 /secret; chmod 600 /secret; {LOOP}")
    wait_until(lambda: cli.run("exec", "box", "test", "-s", "/secret").returncode == 0)
    assert cli.run("exec", "box", "ls", "-ln", "/secret").stdout.split()[2:4] == ["5", "6"]
    assert cli.run("exec", "-u", "5", "box", "cat", "/secret").stdout == "x\n"
    assert cli.run("exec", "-u", "7", "box", "cat", "/secret").returncode != 0
    assert cli.run("exec", "-u", "7:9", "box", "sh", "-c", "id -u; id -g").stdout == "7\n9\n"
    assert cli.run("exec", "box", "chown", "8:9", "/secret").returncode == 0
    assert cli.run("exec", "box", "ls", "-ln", "/secret").stdout.split()[2:4] == ["8", "9"]
    nobody = cli.run("exec", "-u", "nobodyhere", "box", "true")
    assert (nobody.returncode, 'no user is called "nobodyhere"' in nobody.stderr) == (126, True)


def test_exec_waits_for_no_file_of_the_container(cli: CliRunner) -> None:
    begin(cli, "minimal", "sh", "-c", f"rm -f /etc/passwd; mkfifo /etc/passwd; touch /made; {LOOP}")
    wait_until(lambda: cli.run("exec", "box", "test", "-e", "/made").returncode == 0)
    assert cli.run("exec", "-u", "5", "box", "echo", "in").stdout == "in\n"  # id would read the pipe itself


def test_exec_in_the_background_ends_with_the_container(cli: CliRunner) -> None:
    begin(cli, "minimal", "sh", "-c", LOOP)
    assert cli.run("exec", "-d", "box", "sh", "-c", "echo here > /there; exec sleep 300").returncode == 0
    wait_until(lambda: cli.run("exec", "box", "cat", "/there").stdout == "here\n")
    assert "sleep 300" in cli.run("exec", "box", "ps").stdout
    assert cli.run("exec", "-d", "box", "nosuch").returncode == 127
    talks = ("exec", "-d", "-t", "box", "sh", "-c", "seq 1 100000; echo said > /said")
    assert cli.run(*talks).returncode == 0
    wait_until(lambda: cli.run("exec", "box", "test", "-s", "/said").returncode == 0)


def test_exec_in_a_container_in_the_foreground(cli: CliRunner) -> None:
    with cli.start("run", "--rm", "--name", "box", "minimal", "sh", "-c", f"echo ready; {LOOP}") as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        assert cli.run("exec", "box", "echo", "in").stdout == "in\n"
        assert "foreground" in cli.run("attach", "box").stderr
        assert cli.run("stop", "-t", "0", "box").returncode == 0
        assert process.wait(timeout=20) == 137


def test_a_killed_exec_takes_its_command_along(cli: CliRunner) -> None:
    begin(cli, "minimal", "sh", "-c", LOOP)
    with cli.start("exec", "box", "sh", "-c", "echo ready; exec sleep 301") as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.kill()
    wait_until(lambda: "sleep 301" not in cli.run("exec", "box", "ps").stdout)
    assert status(cli).startswith("running")


def test_attach_joins_what_runs(cli: CliRunner) -> None:
    begin(cli, "-i", "minimal", "sh", "-c", "while read line; do echo got $line; done; exit 5")
    with cli.start("attach", "box", stdin=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write("one\n")
        process.stdin.flush()
        assert process.stdout.readline() == "got one\n"
        process.stdin.close()
        process.kill()
    assert status(cli).startswith("running")  # as -d -i has no stdin that ends with a client
    with (
        cli.start("attach", "--no-stdin", "box") as watcher,
        cli.start("attach", "box", stdin=subprocess.PIPE) as typist,
    ):
        assert typist.stdin
        assert watcher.stdout
        assert typist.stdout
        for _ in range(100):  # until the watcher is there
            typist.stdin.write("two\n")
            typist.stdin.flush()
            if select.select([watcher.stdout], [], [], 0.2)[0]:
                break
        assert watcher.stdout.readline() == typist.stdout.readline() == "got two\n"
        assert cli.run("kill", "box").returncode == 0
        assert (watcher.wait(timeout=20), typist.wait(timeout=20)) == (137, 137)


def test_a_terminal_in_the_background(cli: CliRunner) -> None:
    begin(cli, "-it", "minimal", "sh", "-c", "test -t 0 && test -t 1 && echo terminal")  # where stdin is not one
    assert cli.run("wait", "box").stdout == "0\n"
    raw = logs_bytes(cli)
    assert raw == b"terminal\r\n"


def test_published_ports_come_again(cli: CliRunner, tmp_path: Path) -> None:
    done = cli.run("run", "-d", "--name", "box", "-p", "127.0.0.1::80", "minimal", "sh", "-c", LOOP)
    if done.returncode and "pasta" in done.stderr + done.stdout:
        pytest.skip(f"no tool for networks here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    assert "->80/tcp" in cli.run("ps").stdout
    assert cli.run("restart", "-t", "0", "box").returncode == 0
    assert "->80/tcp" in cli.run("ps").stdout


def test_a_running_container_is_not_started_nor_removed(cli: CliRunner) -> None:
    begin(cli, "minimal", "sh", "-c", LOOP)
    assert cli.run("start", "box").returncode == 0
    done = cli.run("rm", "box")
    assert (done.returncode, "is running" in done.stderr) == (1, True)
    assert "is already in use" in cli.run("run", "-d", "--name", "box", "minimal", "true").stderr


def test_relative_paths_are_of_the_directory_it_was_begun_in(cli: CliRunner) -> None:
    (cli.folder / "variables").write_text("A=from a file\n")
    (cli.folder / "labels").write_text("k=v\n")
    cli.own(cli.folder / "variables")
    for number, words in enumerate((["-d"], [])):
        name = f"relative{number}"
        files = ["--cidfile", f"id{number}", "--env-file", "variables", "--label-file", "labels", "-v", "./:/here"]
        done = cli.run("run", *words, *files, "--name", name, "minimal", "sh", "-c", "echo $A; ls /here/variables")
        assert done.returncode == 0, done.stderr
        assert cli.run("wait", name).stdout == "0\n"
        assert cli.run("logs", name).stdout == "from a file\n/here/variables\n"
        assert cli.run("inspect", "-f", "{{.Id}} {{.Config.Labels.k}}", name).stdout.split() == [
            (cli.folder / f"id{number}").read_text(),
            "v",
        ]
