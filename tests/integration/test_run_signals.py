"""tiffin run: signals reach the command, and its end is told as shells do."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.cli_runner import CliRunner, wait_until
from tiffin.builder.containers.run import HANG_UP_SECONDS

pytestmark = pytest.mark.userns
LOOP = "echo ready; while :; do sleep 0.02; done"
# no shell, which has a handler for SIGINT, and what is ready tells so
SLEEP = "echo ready > /tmp/said; exec /bin/busybox tail -f /tmp/said"


def start(cli: CliRunner, script: str, *words: str, **options: object) -> subprocess.Popen[str]:
    process = cli.start("run", "--rm", *words, "minimal", "sh", "-c", script, **options)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2"])
def test_signal_reaches_the_command_once(name: str, cli: CliRunner) -> None:
    with start(cli, f"trap 'echo got' {name}; " + LOOP) as process:
        process.send_signal(getattr(signal, f"SIG{name}"))
        assert process.stdout
        assert process.stdout.readline() == "got\n"
        time.sleep(0.2)
        process.kill()
        assert process.stdout.read() == ""
    wait_until(lambda: not cli.processes())
    assert cli.run("ps").returncode == 0
    assert cli.left() == []


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP"])
def test_command_that_does_not_care_goes_on_as_any_process_one(name: str, cli: CliRunner) -> None:
    with start(cli, SLEEP) as process:
        process.send_signal(getattr(signal, f"SIG{name}"))
        time.sleep(0.3)
        assert process.poll() is None
        process.kill()
    wait_until(lambda: not cli.processes())
    assert cli.run("ps").returncode == 0
    assert cli.left() == []


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP"])
def test_with_an_init_it_ends_by_the_signal(name: str, cli: CliRunner) -> None:
    number = getattr(signal, f"SIG{name}")
    with start(cli, LOOP, "--init") as process:
        process.send_signal(number)
        assert process.wait(10) == 128 + number
    assert cli.left() == []


def test_code_of_a_handler_is_the_code_of_the_run(cli: CliRunner) -> None:
    with start(cli, "trap 'exit 42' TERM; " + LOOP) as process:
        process.terminate()
        assert process.wait(10) == 42
    assert cli.left() == []


@pytest.mark.parametrize("names", ["INT INT INT", "TERM TERM TERM", "TERM INT TERM"])
@pytest.mark.parametrize("script", [SLEEP, "trap '' INT TERM; " + LOOP], ids=["without handlers", "ignored"])
def test_third_request_to_end_is_none(names: str, script: str, cli: CliRunner) -> None:
    """As docker's client, which is then done with a container that may stay: ours ends."""
    first, second, third = (getattr(signal, f"SIG{name}") for name in names.split())
    with start(cli, script) as process:
        for number in (first, second):
            process.send_signal(number)
            time.sleep(0.2)
            assert process.poll() is None
        process.send_signal(third)
        assert process.wait(10) == 137
        assert process.stderr and process.stderr.read().endswith("got 3 SIGTERM/SIGINTs, forcefully exiting\n")
    assert cli.left() == []


def test_loss_of_the_terminal_ends_a_command_that_does_not_care(cli: CliRunner) -> None:
    """Nobody is left who could press Ctrl-C; SIGHUP from somebody else only reaches the command."""
    with ThreadPoolExecutor() as pool:  # each waits for long
        for future in [pool.submit(lose_a_terminal, cli, options) for options in ((), ("-t",), ("-i", "-t"))]:
            future.result()
    wait_until(lambda: not cli.processes())
    assert cli.left() == []


def lose_a_terminal(cli: CliRunner, options: tuple[str, ...]) -> None:
    outer, inner = pty.openpty()
    if "user" in cli.identity:
        os.fchown(inner, cli.identity["user"], -1)  # type: ignore[arg-type]  # a number

    def own_terminal() -> None:
        os.setsid()
        os.close(os.open(os.ttyname(inner), os.O_RDWR))  # the first terminal a session opens is its own

    words = ("run", "--rm", *options, "minimal", "sh", "-c", "trap '' HUP; echo ready; exec sleep 1000")
    process = cli.start(*words, stdin=inner, stdout=inner, stderr=inner, preexec_fn=own_terminal)
    os.close(inner)
    shown = b""
    while b"ready" not in shown:
        shown += os.read(outer, 1000)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    began = time.monotonic()
    os.close(outer)
    process.wait(HANG_UP_SECONDS + 15)
    assert time.monotonic() - began > HANG_UP_SECONDS / 2, "the command had no time to end by itself"


def test_interrupt_of_the_terminal_comes_once(cli: CliRunner) -> None:
    """Ctrl-C goes to every process of the terminal's foreground group; the command has to see one."""
    outer, inner = pty.openpty()
    if "user" in cli.identity:
        os.fchown(inner, cli.identity["user"], -1)  # type: ignore[arg-type]  # a number
    script = "trap 'echo got' INT; " + LOOP

    def own_terminal() -> None:
        os.setsid()
        os.close(os.open(os.ttyname(inner), os.O_RDWR))  # the first terminal a session opens is its own

    with cli.start(
        *("run", "--rm", "minimal", "sh", "-c", script), stdin=inner, preexec_fn=own_terminal, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        os.write(outer, b"\x03")
        assert process.stdout.readline() == "got\n"
        time.sleep(0.3)
        assert process.poll() is None
        process.kill()
        assert process.stdout.read() == ""
    for fd in (outer, inner):
        os.close(fd)
    wait_until(lambda: not cli.processes())
    assert cli.run("ps").returncode == 0


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.06, 0.09, 0.12, 0.15, 0.18])
def test_signal_at_any_moment_leaves_nothing(delay: float, cli: CliRunner) -> None:
    """Before there is a command it ends tiffin; after that the command has it, which need not care."""
    with cli.start("run", "--rm", "minimal", "sleep", "30") as process:
        time.sleep(delay)
        try:
            for _ in range(100):
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=0.3)
                    break
        finally:
            process.kill()
    assert process.returncode in (143, 137, -signal.SIGTERM)  # the last before the interpreter was up
    assert cli.left() == []


def test_ignored_signal_stays_ignored(cli: CliRunner) -> None:
    """nohup tiffin run … does not even tell its command of a hang-up."""
    script = "trap 'exit 3' HUP; trap 'exit 4' TERM; " + LOOP
    with start(cli, script, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as process:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        assert process.poll() is None
        process.terminate()
        assert process.wait(10) == 4
