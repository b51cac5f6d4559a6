"""tiffin run: signals reach the command, and its end is told as shells do."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time

import pytest

from tests.support.run_machine import Machine, wait_until

pytestmark = pytest.mark.userns
LOOP = "echo ready; while :; do sleep 0.02; done"


def start(machine: Machine, script: str, **options: object) -> subprocess.Popen[str]:
    process = machine.start("run", "--rm", "minimal", "sh", "-c", script, **options)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2"])
def test_signal_reaches_the_command_once(name: str, machine: Machine) -> None:
    with start(machine, f"trap 'echo got' {name}; " + LOOP) as process:
        process.send_signal(getattr(signal, f"SIG{name}"))
        assert process.stdout
        assert process.stdout.readline() == "got\n"
        time.sleep(0.2)
        process.kill()
        assert process.stdout.read() == ""
    wait_until(lambda: not machine.processes())
    assert machine.run("ps").returncode == 0
    assert machine.left() == []


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP"])
def test_command_that_does_not_care_ends_by_the_signal(name: str, machine: Machine) -> None:
    number = getattr(signal, f"SIG{name}")
    with start(machine, LOOP) as process:
        process.send_signal(number)
        assert process.wait(10) == 128 + number
    assert machine.left() == []


def test_code_of_a_handler_is_the_code_of_the_run(machine: Machine) -> None:
    with start(machine, "trap 'exit 42' TERM; " + LOOP) as process:
        process.terminate()
        assert process.wait(10) == 42
    assert machine.left() == []


def test_second_interrupt_kills(machine: Machine) -> None:
    with start(machine, "trap '' INT; trap 'echo term' TERM; " + LOOP) as process:
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 137
    assert machine.left() == []


def test_interrupt_of_the_terminal_comes_once(machine: Machine) -> None:
    """Ctrl-C goes to every process of the terminal's foreground group; the command has to see one."""
    outer, inner = pty.openpty()
    if "user" in machine.identity:
        os.fchown(inner, machine.identity["user"], -1)  # type: ignore[arg-type]  # a number
    script = "trap 'echo got' INT; " + LOOP

    def own_terminal() -> None:
        os.setsid()
        os.close(os.open(os.ttyname(inner), os.O_RDWR))  # the first terminal a session opens is its own

    with machine.start(
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
    wait_until(lambda: not machine.processes())
    assert machine.run("ps").returncode == 0


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.06, 0.09, 0.12, 0.15, 0.18])
def test_signal_at_any_moment_leaves_nothing(delay: float, machine: Machine) -> None:
    with machine.start("run", "--rm", "minimal", "sleep", "30") as process:
        time.sleep(delay)
        process.terminate()
        try:
            process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode in (143, -signal.SIGTERM)  # the latter before the interpreter was up
    assert machine.left() == []


def test_ignored_signal_stays_ignored(machine: Machine) -> None:
    """nohup tiffin run … is not ended by a hang-up."""
    with start(machine, LOOP, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as process:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        assert process.poll() is None
        process.terminate()
        assert process.wait(10) == 143
