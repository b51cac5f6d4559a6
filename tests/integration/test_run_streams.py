"""The standard streams of a command can be opened by name, as those of docker and podman: whatever tiffin's own are."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests.support.cli_runner import CliRunner
from tests.support.unprivileged import Users

pytestmark = pytest.mark.userns
TIMEOUT_SECONDS = 60
MANY_BYTES = 3_000_000
BOTH = ("sh", "-c", "echo out > /dev/stdout && echo err > /dev/stderr && echo end")


@pytest.fixture(params=["0", "alice"])
def who(request: pytest.FixtureRequest) -> str:
    """Root of the container, and another user of it."""
    return str(request.param)


def started(cli: CliRunner, *words: str, stdin: object = subprocess.DEVNULL, **streams: object) -> int:
    """Run a container to its end; its exit code."""
    argv = cli.argv("run", "--rm", *words)
    options = cli.options()
    return subprocess.run(argv, timeout=TIMEOUT_SECONDS, stdin=stdin, check=False, **options, **streams).returncode  # type: ignore[call-overload,no-any-return]


def received(line: socket.socket) -> bytes:
    """All that comes until the other end is closed."""
    with line, line.makefile("rb") as stream:
        return stream.read()


def test_a_socket(cli: CliRunner, who: str) -> None:
    """As systemd's journal gives."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)  # as Node.js makes them
    with theirs:
        assert started(cli, "-u", who, "minimal", *BOTH, stdout=theirs, stderr=theirs) == 0
    assert received(ours) == b"out\nerr\nend\n"


def test_a_pipe_of_somebody(cli: CliRunner, who: str) -> None:
    """The test's own pipes, which another user's command could not open."""
    done = cli.run("run", "--rm", "-u", who, "minimal", *BOTH)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\nend\n", "err\n")


def test_pipes_stay_whose_they_are(cli: CliRunner, who: str) -> None:
    reader, writer = os.pipe()
    before = os.fstat(writer).st_uid
    assert started(cli, "-u", who, "minimal", "true", stdout=writer, stderr=writer) == 0
    assert os.fstat(writer).st_uid == before
    os.close(reader)
    os.close(writer)


def test_a_file_keeps_what_was_printed_before(cli: CliRunner, who: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as log:
        log.write(b"before\n")
        log.flush()
        assert started(cli, "-u", who, "minimal", *BOTH, stdout=log, stderr=log) == 0
    assert path.read_bytes() == b"before\nout\nerr\nend\n"


def test_a_terminal_without_t_is_a_pipe(cli: CliRunner, who: str) -> None:
    ours, theirs = pty.openpty()
    script = "echo out > /dev/stdout && test ! -t 1 && test ! -t 2 && echo err > /dev/stderr"
    assert started(cli, "-u", who, "minimal", "sh", "-c", script, stdout=theirs, stderr=theirs) == 0
    os.close(theirs)
    assert os.read(ours, 100) == b"out\r\nerr\r\n"
    os.close(ours)


def test_the_null_device_is_given_as_it_is(cli: CliRunner, who: str) -> None:
    words = ("sh", "-c", "echo a > /dev/stdout && test -c /dev/stdout")
    assert started(cli, "-u", who, "minimal", *words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0


@pytest.mark.parametrize("kind", ["socket", "pipe"])
def test_stdin_can_be_opened(cli: CliRunner, who: str, kind: str) -> None:
    script = "cat /dev/stdin | wc -c; read line || echo end"
    if kind == "pipe":
        done = cli.run("run", "--rm", "-i", "-u", who, "minimal", "sh", "-c", script, input="a" * MANY_BYTES)
        assert done.stdout.split() == [str(MANY_BYTES), "end"]
        return
    ours, theirs = socket.socketpair()

    def feed() -> None:
        ours.sendall(b"a" * MANY_BYTES)
        ours.shutdown(socket.SHUT_WR)

    feeder = threading.Thread(target=feed)
    feeder.start()
    with theirs:
        words = ("-i", "-u", who, "minimal", "sh", "-c", script)
        assert started(cli, *words, stdin=theirs, stdout=theirs, stderr=theirs) == 0
    feeder.join()
    assert received(ours).split() == [str(MANY_BYTES).encode(), b"end"]


def test_a_command_that_leaves_its_stdin_ends(cli: CliRunner) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:  # nobody ends the input
        ours.sendall(b"more than is read\n")
        words = ("-i", "minimal", "sh", "-c", "exec < /dev/null; echo done")
        assert started(cli, *words, stdin=theirs, stdout=theirs, stderr=theirs) == 0
        assert ours.recv(100) == b"done\n"


def test_all_that_was_printed_arrives(cli: CliRunner, who: str) -> None:
    """Also what a process left in the background held when the command ended."""
    script = f"head -c {MANY_BYTES} /dev/zero; (sleep 100 &) ; echo last >&2; exit 3"
    ours, theirs = socket.socketpair()
    counted: list[bytes] = []
    reader = threading.Thread(target=lambda: counted.append(received(ours)))
    reader.start()
    with theirs:
        assert started(cli, "-u", who, "minimal", "sh", "-c", script, stdout=theirs, stderr=theirs) == 3
    reader.join()
    assert (len(counted[0]), counted[0][-5:]) == (MANY_BYTES + 5, b"last\n")


def test_nobody_reads_any_more(cli: CliRunner, who: str) -> None:
    """The command learns it when it writes, as without a container."""
    ours, theirs = socket.socketpair()
    ours.close()
    script = "trap '' PIPE; while echo y; do :; done 2> /dev/null; exit 4"
    with theirs:
        assert started(cli, "-u", who, "minimal", "sh", "-c", script, stdout=theirs, stderr=theirs) == 4


def test_a_full_disk_is_told(cli: CliRunner) -> None:
    with open("/dev/full", "wb") as full:
        argv = cli.argv("run", "--rm", "minimal", "echo", "lost")
        options = {**cli.options(), "stdin": subprocess.DEVNULL, "stdout": full, "stderr": subprocess.PIPE}
        done = subprocess.run(argv, timeout=TIMEOUT_SECONDS, check=False, **options)  # type: ignore[call-overload]
    assert (done.returncode, done.stderr.startswith(b"error: cannot write the command's output: No space")) == (
        125,
        True,
    )
    assert cli.left() == []


@pytest.mark.parametrize("user", ["root", "app"])
def test_streams_of_run_steps(users: Users, busybox: Path, user: str) -> None:
    for name in users.names:
        folder = users.home(name) / f"streams-{user}"
        folder.mkdir()
        lines = (
            f"FROM scratch\nCOPY rootfs/ /\nENV PATH=/bin\nUSER {user}\n"
            "RUN echo out > /dev/stdout && echo err > /dev/stderr\n"
        )
        subprocess.run(["cp", "-a", f"{busybox}/.", str(folder)], check=True)
        (folder / "Dockerfile").write_text(lines)
        users.own(name, folder)
        done = users.run(name, ["build", "--progress=plain", folder])
        assert " out\n" in done.stderr and " err\n" in done.stderr
        subprocess.run(["rm", "-rf", str(folder)], check=True)
