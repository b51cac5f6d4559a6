"""A supervisor and its clients: what a command prints reaches the log and everybody, what is typed the command."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path

import pytest

from tiffin.builder.containers import streams
from tiffin.builder.containers.lifecycle import messages
from tiffin.builder.containers.lifecycle.attachment import Attachment
from tiffin.builder.containers.lifecycle.log import LogWriter, read_entries
from tiffin.builder.containers.lifecycle.supervisor import Supervisor
from tiffin.builder.errors import StoreError
from tiffin.builder.sandbox.child.fd_passing import Socket, pair
from tiffin.builder.sandbox.child.spec import SandboxSpec
from tiffin.builder.sandbox.launch import ExitStatus, Running

SPEC = SandboxSpec(scratch_dir="", lower_dirs=(), upper_dir="", work_dir="", argv=("x",), env=())
TYPED = bytes(range(256)) * 2000
ROWS, COLUMNS = 33, 111


class Command(Running):
    """What runs in a thread, with the streams it was given, in the place of a sandbox."""

    def __init__(self, fds: tuple[int, ...], do: Callable[[int, int, int], int]) -> None:
        self._fds = tuple(os.dup(fd) for fd in fds)
        self._do = do
        self._code = 0
        self._ended, self._end = os.pipe()
        self._thread = threading.Thread(target=self._run)

    def begin(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        try:
            self._code = self._do(*self._fds)
        finally:
            for fd in {*self._fds, self._end}:
                os.close(fd)

    def fileno(self) -> int:
        return self._ended

    def wait(self) -> ExitStatus:
        self._thread.join()
        os.close(self._ended)
        return ExitStatus(code=self._code)


@contextlib.contextmanager
def supervised(
    folder: Path,
    *,
    tty: bool = False,
    interactive: bool = False,
    closes: bool = True,
    first: Socket | None = None,
    is_held: bool = False,
) -> Iterator[Supervisor]:
    listener = messages.listen(folder)
    with Supervisor(
        listener,
        LogWriter(folder),
        tty=tty,
        interactive=interactive,
        closes_stdin=closes,
        first=first,
        is_held=is_held,
    ) as supervisor:
        yield supervisor


def attend(supervisor: Supervisor, do: Callable[[int, int, int], int], signals: list[int] | None = None) -> int:
    assert isinstance(supervisor.path, str)
    command = Command(supervisor.opened(SPEC), do)
    command.begin()
    return supervisor.attend(command, (signals if signals is not None else []).append).code


def received(line: Socket) -> dict[bytes, bytes]:
    """All that a client was told, by kind."""
    found: dict[bytes, bytes] = {}
    while message := line.recv(messages.MAX_BYTES + 1):
        found[message[:1]] = found.get(message[:1], b"") + message[1:]
        if message[:1] == messages.ENDED:
            break
    return found


def write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def read_all(fd: int) -> bytes:
    data = b""
    while chunk := os.read(fd, 1 << 16):
        data += chunk
    return data


def test_output_goes_to_the_log_and_to_whoever_is_attached(tmp_path: Path) -> None:
    ours, theirs = pair()

    def do(_: int, out: int, err: int) -> int:
        write_all(out, b"one\ntwo")
        write_all(err, b"problem\n")
        return 3

    with supervised(tmp_path, first=theirs) as supervisor:
        assert attend(supervisor, do) == 3
        assert [entry.text for entry in read_entries(tmp_path)][-1] == b"two", "though somebody may still be behind"
        supervisor.finish(3)
    assert received(ours) == {
        messages.STDOUT: b"one\ntwo",
        messages.STDERR: b"problem\n",
        messages.EXITED: b"3",
        messages.ENDED: b"3",
    }
    ours.close()
    texts = {(entry.stream, entry.text) for entry in read_entries(tmp_path)}
    assert texts == {("stdout", b"one\n"), ("stdout", b"two"), ("stderr", b"problem\n")}


def test_much_is_typed_and_comes_back_whole_though_the_client_reads_late(tmp_path: Path) -> None:
    ours, theirs = pair()

    def client() -> None:
        for start in range(0, len(TYPED), messages.MAX_BYTES):
            ours.send(messages.STDIN + TYPED[start : start + messages.MAX_BYTES])
        ours.send(messages.STDIN)

    def do(stdin: int, out: int, _: int) -> int:
        write_all(out, read_all(stdin))
        write_all(out, b"x" * (3 << 20))  # more than is kept for a client that does not read
        return 0

    with supervised(tmp_path, interactive=True, first=theirs) as supervisor:
        typist, reader = threading.Thread(target=client), threading.Thread(target=lambda: got.update(late(ours)))
        got: dict[bytes, bytes] = {}
        typist.start()
        reader.start()
        attend(supervisor, do)
        supervisor.finish(0)
        reader.join()
        typist.join()
    assert got[messages.STDOUT] == TYPED + b"x" * (3 << 20)
    ours.close()


def late(line: Socket) -> dict[bytes, bytes]:
    time.sleep(0.2)
    return received(line)


def test_clients_come_and_go(tmp_path: Path) -> None:
    signals: list[int] = []

    def do(_: int, out: int, __: int) -> int:
        leaver = messages.connect(tmp_path)
        assert leaver is not None
        leaver.close()
        watcher = messages.connect(tmp_path)
        assert watcher is not None
        watcher.send(messages.ATTACH)
        watcher.send(messages.SIGNAL + b"10")
        watcher.send(messages.STOP + b"15")
        while signals != [10, 15]:
            time.sleep(0.001)
        write_all(out, b"seen")
        assert watcher.recv(100) == messages.STDOUT + b"seen"
        watcher.close()
        return 0

    with supervised(tmp_path) as supervisor:
        assert not supervisor.stopping
        attend(supervisor, do, signals)
        assert supervisor.stopping
        began = time.monotonic()
        supervisor.pause(10)
        assert time.monotonic() - began < 5


def test_stdin_that_is_not_closed_outlives_a_client(tmp_path: Path) -> None:
    def do(stdin: int, out: int, _: int) -> int:
        for text in (b"one", b"two"):
            client = messages.connect(tmp_path)
            assert client is not None
            client.send(messages.STDIN + text)
            assert os.read(stdin, 10) == text
            client.close()
        return 0

    with supervised(tmp_path, interactive=True, closes=False) as supervisor:
        assert attend(supervisor, do) == 0


def test_a_terminal_has_the_size_of_its_client(tmp_path: Path) -> None:
    ours, theirs = pair()
    ours.send(messages.SIZE + struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    ours.send(messages.STDIN + b"hello\n")

    def do(stdin: int, out: int, _: int) -> int:
        assert os.isatty(stdin)
        rows, columns, *_rest = struct.unpack("HHHH", ioctl(stdin, termios.TIOCGWINSZ, b"\0" * 8))
        write_all(out, f"{rows} {columns} {os.read(stdin, 100).decode()}".encode())
        return 0

    with supervised(tmp_path, tty=True, interactive=True, first=theirs) as supervisor:
        attend(supervisor, do)
        supervisor.finish(0)
    assert f"{ROWS} {COLUMNS} hello\r\n".encode() in received(ours)[messages.STDOUT]
    ours.close()


def test_nobody_listens_where_nothing_runs(tmp_path: Path) -> None:
    assert messages.connect(tmp_path) is None
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with contextlib.closing(messages.listen(deep)):  # a longer path than a socket may have
        line = messages.connect(deep)
        assert line is not None
        line.close()
    with pytest.raises(StoreError, match="cannot listen"):
        messages.listen(tmp_path / "missing")


@pytest.mark.parametrize(("last", "killed"), [((messages.LEAVE,), []), ((), [signal.SIGKILL])])
def test_what_was_said_before_one_went_is_heard_though_output_waits_for_him(
    tmp_path: Path, last: tuple[bytes, ...], killed: list[int]
) -> None:
    ours, theirs = pair()
    typed = []

    def do(given: int, out: int, _: int) -> int:
        os.write(out, b"lost")  # sending it tells that nobody is there
        typed.append(os.read(given, 3))
        return 0

    with supervised(tmp_path, interactive=True, first=theirs, is_held=True) as supervisor:
        for message in (messages.STDIN + b"one", *last):
            ours.send(message)
        ours.close()
        signals: list[int] = []
        attend(supervisor, do, signals)
        assert (signals, supervisor.stopping) == (killed, bool(killed))
    assert typed == [b"one"]


def test_all_that_waits_is_sent_before_one_goes(tmp_path: Path) -> None:
    ours, theirs = pair()
    queue = messages.Queue(ours)
    expected = [b"%d" % number + bytes(30000) for number in range(100)]
    for message in expected:
        queue.add(message)
    assert queue.flush() and not queue.is_empty
    found: list[bytes] = []

    def read() -> None:
        while message := messages.receive(theirs):
            found.append(message)

    reader = threading.Thread(target=read)
    reader.start()
    queue.flush_all()
    ours.close()
    reader.join()
    assert found == expected
    theirs.close()


def test_whoever_went_without_a_word_is_gone(tmp_path: Path) -> None:
    listener = messages.listen(tmp_path)
    line = messages.connect(tmp_path)
    assert line is not None
    line.send(messages.ATTACH)
    listener.close()  # before it accepted: a reset
    assert messages.receive(line) == b""
    line.setblocking(False)
    line.close()
    ours, theirs = pair()
    ours.setblocking(False)
    with contextlib.closing(ours), contextlib.closing(theirs), pytest.raises(BlockingIOError):
        messages.receive(ours)


@contextlib.contextmanager
def as_stdin(fd: int) -> Iterator[None]:
    saved = os.dup(0)
    os.dup2(fd, 0)
    try:
        yield
    finally:
        os.dup2(saved, 0)
        os.close(saved)


def test_an_attachment_copies_both_ways_and_has_the_code(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    ours, theirs = pair()
    reader, writer = os.pipe()
    os.write(writer, b"typed")
    os.close(writer)
    theirs.send(messages.STDOUT + b"out")
    theirs.send(messages.STDERR + b"err")

    def supervisor() -> None:
        seen = b""
        while not seen.endswith(messages.STDIN):
            seen += theirs.recv(100)
        typed.append(seen)
        theirs.send(messages.ENDED + b"7")

    typed: list[bytes] = []
    thread = threading.Thread(target=supervisor)
    thread.start()
    with as_stdin(reader):
        joined = Attachment(ours, tty=False, types=True)
        joined.announce()
        assert joined.run() == 7
    thread.join()
    os.close(reader)
    assert typed == [messages.ATTACH + messages.STDIN + b"typed" + messages.STDIN]
    assert capfdbinary.readouterr() == (b"out", b"err")
    for line in (ours, theirs):
        line.close()


def test_a_supervisor_that_was_killed_took_the_command_with_it() -> None:
    ours, theirs = pair()
    theirs.close()
    with contextlib.closing(ours):
        assert Attachment(ours, tty=False, types=False).run() == 137


def test_signals_go_to_the_command(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    ours, theirs = pair()

    def supervisor() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        seen.append(theirs.recv(100))
        theirs.send(messages.ENDED + b"0")

    seen: list[bytes] = []
    thread = threading.Thread(target=supervisor)
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        joined = Attachment(ours, tty=False, types=False)
        threading.Timer(0.1, thread.start).start()
        assert joined.run() == 0
    finally:
        signal.signal(signal.SIGUSR1, before)
    thread.join()
    assert seen == [messages.SIGNAL + b"%d" % signal.SIGUSR1]
    for line in (ours, theirs):
        line.close()


@pytest.mark.parametrize(
    ("chunks", "typed"),
    [
        ([b"\x10\x11"], b""),
        ([b"ab\x10", b"\x11never"], b"ab"),
        ([b"\x10x\x10\x10\x11"], b"\x10x\x10"),
        ([b"\x10\x10", b"\x10", b"\x11"], b"\x10\x10"),
    ],
)
def test_keys_leave_a_terminal(chunks: list[bytes], typed: bytes) -> None:
    ours, theirs = pair()
    outer, inner = pty.openpty()
    mode = termios.tcgetattr(inner)

    def person() -> None:
        while termios.tcgetattr(inner)[3] & termios.ICANON:
            time.sleep(0.001)  # until the terminal is raw
        for chunk in chunks:
            os.write(outer, chunk)
            time.sleep(0.05)

    thread = threading.Thread(target=person)
    thread.start()
    with as_stdin(inner):
        assert Attachment(ours, tty=True, types=True).run() is None
    thread.join()
    assert termios.tcgetattr(inner) == mode
    ours.close()
    got = b""
    while message := theirs.recv(100):
        got += message[1:] if message[:1] == messages.STDIN else b""
    assert got == typed
    for fd in (outer, inner):
        os.close(fd)
    theirs.close()


def test_a_full_disk_is_told_and_a_reader_that_left_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    streams.write_all(writer, b"lost")
    os.close(writer)
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(StoreError, match="No space left"):
        streams.write_all(full, b"x")
    os.close(full)


def test_who_reads_slowly_gets_all_after_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pair()
    ours.settimeout(20)
    text = TYPED[: messages.MAX_QUEUE_BYTES // 2]  # more than a socket holds

    def do(_: int, out: int, __: int) -> int:
        write_all(out, text)
        return 0

    with supervised(tmp_path, first=theirs) as supervisor:
        assert attend(supervisor, do) == 0
        hours = iter(range(0, 1 << 30, 3600))
        monkeypatch.setattr(time, "monotonic", lambda: float(next(hours)))  # each look is an hour later
        finishing = threading.Thread(target=supervisor.finish, args=(0,))
        finishing.start()
        found = received(ours)
        finishing.join()
    assert found[messages.STDOUT] == text
    assert found[messages.ENDED] == b"0"
    ours.close()


def test_the_end_is_heard_though_something_typed_was_not_read(tmp_path: Path) -> None:
    ours, theirs = pair()
    attachment = Attachment(ours, tty=False, types=False)
    with supervised(tmp_path, first=theirs) as supervisor:
        assert attend(supervisor, lambda *_: 0) == 0
        ours.send(messages.STDIN + b"too late")
        supervisor.finish(0)
    assert attachment.run() == 0
    ours.close()


class Unhealthy:
    """A companion that has a command ended at once, with patience."""

    def __init__(self, supervisor: Supervisor, seconds: float) -> None:
        self._supervisor = supervisor
        self._seconds = seconds
        self._is_told = False

    def seconds(self) -> float:
        return 60.0 if self._is_told else 0.0

    def descriptors(self) -> tuple[int, ...]:
        return ()

    def attend(self, _: object) -> None:
        if not self._is_told:
            self._is_told = True
            self._supervisor.end_late(self._seconds, for_good=True)


def test_a_command_that_is_to_end_and_does_not_is_killed(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with supervised(tmp_path) as supervisor:
        assert isinstance(supervisor.path, str)
        command = Command(supervisor.opened(SPEC), lambda *_: len(os.read(reader, 1)))
        command.begin()
        signals: list[int] = []

        def send(number: int) -> None:
            signals.append(number)
            os.write(writer, b"x")

        supervisor.attend(command, send, Unhealthy(supervisor, 0.05))
    assert signals == [signal.SIGKILL]
    assert supervisor.stopping
    os.close(reader)
    os.close(writer)
