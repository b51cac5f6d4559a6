"""tiffin run -t: a terminal of the right size, raw while it lasts, given back as it was."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.cli_runner import CliRunner, wait_until

pytestmark = pytest.mark.userns


class Screen:
    """Somebody at a terminal of 33 lines and 91 columns, in which tiffin runs."""

    def __init__(self, cli: CliRunner, *words: str, command: tuple[str, ...] = ("run", "--rm")) -> None:
        self.outer, inner = pty.openpty()
        self.inner = inner
        self.resize(33, 91)
        if "user" in cli.identity:
            os.fchown(inner, cli.identity["user"], -1)  # type: ignore[arg-type]  # a number
        self.before = termios.tcgetattr(inner)
        self.shown = b""

        def own_terminal() -> None:
            os.setsid()
            os.close(os.open(os.ttyname(0), os.O_RDWR))

        self.process = subprocess.Popen(  # type: ignore[call-overload]
            cli.argv(*command, *words),
            stdin=inner,
            stdout=inner,
            stderr=inner,
            preexec_fn=own_terminal,
            **cli.options(),
        )

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self.outer, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.outer, text.encode())

    def read(self, seconds: float = 0.05) -> bytes:
        while select.select([self.outer], [], [], seconds)[0]:
            self.shown += os.read(self.outer, 65536)
        return self.shown

    def wait_for(self, pattern: str) -> re.Match[str]:
        def found() -> re.Match[str] | None:
            return re.search(pattern, self.read().decode("utf-8", "replace"))

        wait_until(found, seconds=20)
        match = found()
        assert match
        return match

    def end(self) -> int:
        deadline = time.monotonic() + 20
        while self.process.poll() is None:
            self.read()
            assert time.monotonic() < deadline
        self.read()
        return int(self.process.returncode)


@contextmanager
def at_terminal(cli: CliRunner, *words: str, command: tuple[str, ...] = ("run", "--rm")) -> Iterator[Screen]:
    screen = Screen(cli, *words, command=command)
    try:
        yield screen
        assert termios.tcgetattr(screen.inner) == screen.before, "the terminal was not put back"
    finally:
        screen.process.kill()
        screen.process.wait()
        os.close(screen.inner)
        os.close(screen.outer)


def test_size_type_and_code(cli: CliRunner) -> None:
    script = "tty; stty size; echo $TERM; test -t 0 && test -t 1 && test -t 2 && echo terminal; exit 7"
    with at_terminal(cli, "-it", "minimal", "sh", "-c", script) as screen:
        assert screen.end() == 7
        assert screen.shown.decode() == "/dev/console\r\n33 91\r\nxterm\r\nterminal\r\n"
    assert cli.left() == []


def test_new_size_is_followed(cli: CliRunner) -> None:
    script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"
    with at_terminal(cli, "-it", "--init", "minimal", "sh", "-c", script) as screen:
        screen.wait_for("ready")
        screen.resize(10, 20)
        screen.wait_for("10 20")
        screen.process.terminate()
        assert screen.end() == 143


def test_keys_go_through_raw(cli: CliRunner) -> None:
    """Ctrl-C, Ctrl-Z and Ctrl-S are for the program inside; nothing is echoed twice."""
    with at_terminal(cli, "-it", "minimal", "sh") as screen:
        screen.wait_for("# ")
        assert not termios.tcgetattr(screen.inner)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
        screen.type("sleep 100\r")
        screen.wait_for("sleep 100")
        time.sleep(0.2)
        screen.type("\x03")
        screen.type("echo code $?\r")
        screen.wait_for("code 130")
        assert screen.shown.count(b"sleep 100") == 1
        screen.type("\x04")
        assert screen.end() == 0
    assert cli.left() == []


def test_large_paste_arrives_whole(cli: CliRunner) -> None:
    """A program that writes while it does not read must not stop both ways."""
    lines = 3000
    with at_terminal(cli, "-it", "minimal", "sh", "-c", "stty -echo; echo ready; sleep 0.5; cat | wc -l") as screen:
        screen.wait_for("ready")
        sent = 0
        data = b"0123456789abcdef\r" * lines
        deadline = time.monotonic() + 30
        os.set_blocking(screen.outer, False)
        while sent < len(data):
            assert time.monotonic() < deadline
            try:
                sent += os.write(screen.outer, data[sent : sent + 1000])
            except BlockingIOError:
                time.sleep(0.01)
            screen.read(0)
        screen.type("\x04")
        screen.wait_for(rf"\b{lines}\b")
        assert screen.end() == 0


def test_much_output_arrives_whole(cli: CliRunner) -> None:
    with at_terminal(cli, "-it", "minimal", "seq", "50000") as screen:
        assert screen.end() == 0
        assert screen.shown.decode() == "".join(f"{number}\r\n" for number in range(1, 50001))


def test_terminal_comes_back_after_a_signal(cli: CliRunner) -> None:
    with at_terminal(cli, "-it", "--init", "minimal", "sh", "-c", "echo ready; sleep 100") as screen:
        screen.wait_for("ready")
        screen.process.send_signal(signal.SIGTERM)
        assert screen.end() == 143
    assert cli.left() == []


def test_terminal_comes_back_when_the_command_is_not_there(cli: CliRunner) -> None:
    with at_terminal(cli, "-it", "minimal", "nosuch") as screen:
        assert screen.end() == 127
        assert b"executable file not found" in screen.shown
    assert cli.left() == []


def test_user_of_the_terminal_owns_it(cli: CliRunner) -> None:
    script = "stat -c %u /dev/console; echo again >/dev/tty; echo out >/dev/stdout"
    with at_terminal(cli, "-it", "-u", "alice", "minimal", "sh", "-c", script) as screen:
        assert screen.end() == 0
        assert screen.shown.decode() == "1000\r\nagain\r\nout\r\n"


def test_terminal_without_interactive_reads_nothing(cli: CliRunner) -> None:
    with at_terminal(cli, "-t", "minimal", "sh", "-c", "stty size; echo done") as screen:
        assert screen.end() == 0
        assert screen.shown.decode() == "33 91\r\ndone\r\n"


def test_terminal_where_there_is_none(cli: CliRunner) -> None:
    assert cli.output("-t", "minimal", "sh", "-c", "test -t 1 && echo terminal") == "terminal\n"
    done = cli.run("run", "--rm", "-it", "minimal", "true")
    assert (done.returncode, done.stderr) == (125, "error: stdin is not a terminal, which -i -t need; leave out -t\n")


def test_job_control_works(cli: CliRunner) -> None:
    with at_terminal(cli, "-it", "minimal", "sh") as screen:
        screen.wait_for("# ")
        screen.type("sleep 100\r")
        time.sleep(0.3)
        screen.type("\x1a")
        screen.wait_for("Stopped")
        screen.type("exit 5\r")
        screen.wait_for("stopped jobs")
        screen.type("exit 5\r")
        assert screen.end() == 5


def test_one_that_is_left_goes_on_and_is_removed_at_its_end(cli: CliRunner) -> None:
    """As docker's --rm: ctrl-p ctrl-q leaves it, attach comes back, and its end removes it."""
    with at_terminal(cli, "-it", "--name", "left", "minimal", "sh") as screen:
        screen.wait_for("# ")
        screen.type("X=5\r")
        screen.type("\x10\x11")
        assert screen.end() == 0
        assert cli.run("ps", "--format", "{{.Names}}").stdout == "left\n"
        assert "X=5" in cli.run("logs", "left").stdout
    with at_terminal(cli, "attach", "left", command=()) as screen:
        screen.type("echo $X again\r")
        screen.wait_for("5 again")
        screen.type("exit 6\r")
        assert screen.end() == 6
    wait_until(lambda: cli.left() == [])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_one_that_is_not_left_ends_with_its_command(cli: CliRunner, number: int) -> None:
    with at_terminal(cli, "-it", "--init", "minimal", "sh", "-c", "echo ready; exec sleep 100") as screen:
        screen.wait_for("ready")
        screen.process.send_signal(number)
        assert screen.end() == (-9 if number == signal.SIGKILL else 143)
        screen.before = termios.tcgetattr(screen.inner)  # nobody was left to put it back
    wait_until(lambda: cli.left() == [])
