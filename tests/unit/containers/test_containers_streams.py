"""The streams of a container: copied where the command could not open ours, passed on where it can, and ended in
order.
"""

from __future__ import annotations

import os
import signal
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.support.tiers import CHROOT, PROOT, RANGE, SINGLE
from tiffin.builder.containers import limits
from tiffin.builder.containers.limits import parse_limits
from tiffin.builder.containers.reach import reach_of
from tiffin.builder.containers.streams import Streams
from tiffin.builder.containers.terminal import Terminal
from tiffin.builder.errors import SandboxError, UsageError
from tiffin.builder.image.users import ProcessUser
from tiffin.builder.layer.demands import Demands, Owned
from tiffin.builder.sandbox.cgroup_limits import Limits
from tiffin.builder.sandbox.child.spec import SandboxSpec
from tiffin.builder.sandbox.isolation import Isolation, Tier
from tiffin.builder.sandbox.launch import ExitStatus, Running
from tiffin.builder.sandbox.userns import IdMap
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.snapshots import Snapshots
from tiffin.cache.store.statedir import StateDir

SPEC = SandboxSpec(scratch_dir="", lower_dirs=(), upper_dir="", work_dir="", argv=("x",), env=())
PLENTY = b"much to say\n" * 20_000


class Command(Running):
    """A command that is a function of its three streams, in a thread."""

    def __init__(self, act: Callable[[int, int, int], None], streams: tuple[int, int, int]) -> None:
        self._end = os.pipe2(os.O_CLOEXEC)
        mine = [os.dup(fd) for fd in streams]

        def run() -> None:
            try:
                act(*mine)
            finally:
                for fd in mine:
                    os.close(fd)
                os.close(self._end[1])

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def wait(self) -> ExitStatus:
        self._thread.join()
        return ExitStatus(code=0)

    def fileno(self) -> int:
        return self._end[0]

    def close(self) -> None:
        self._thread.join()
        os.close(self._end[0])


@contextmanager
def our_streams(stdin: int, stdout: int, stderr: int) -> Iterator[None]:
    """These are the process's for a while."""
    saved = [os.dup(fd) for fd in (0, 1, 2)]
    try:
        for ours, given in enumerate((stdin, stdout, stderr)):
            os.dup2(given, ours)
        yield
    finally:
        for ours, before in enumerate(saved):
            os.dup2(before, ours)
            os.close(before)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[dict[str, int]]:
    """Descriptors to use as streams, by kind; all are closed."""
    with ExitStack() as stack:
        found = {}
        for name in ("out", "err", "in"):
            (tmp_path / name).touch()
            found[name] = os.open(tmp_path / name, os.O_RDWR)
        found["null"] = os.open(os.devnull, os.O_RDWR)
        found["read"], found["write"] = os.pipe()
        for fd in found.values():
            stack.callback(_close, fd)
        yield found


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        return


def echo(stdin: int, stdout: int, stderr: int) -> None:
    while data := os.read(stdin, 1 << 16):
        os.write(stdout, data)
    os.write(stderr, b"done\n")


def attend(act: Callable[[int, int, int], None], *, interactive: bool, is_own: bool = False) -> None:
    """What `run` does with a command."""
    with Streams(interactive=interactive, is_own=is_own) as streams:
        with closing(Command(act, streams.opened(SPEC))) as command:
            streams.join(command)
            command.wait()
        streams.drain()


def test_what_a_command_prints_comes_out_whole_and_apart(tmp_path: Path, files: dict[str, int]) -> None:
    def act(_: int, stdout: int, stderr: int) -> None:
        for part in (PLENTY[:50_000], PLENTY[50_000:]):
            os.write(stdout, part)
        os.write(stderr, b"complaint\n")

    with our_streams(files["null"], files["out"], files["err"]):
        attend(act, interactive=False)
    assert (tmp_path / "out").read_bytes() == PLENTY and (tmp_path / "err").read_bytes() == b"complaint\n"


def test_both_outputs_to_one_file_keep_their_order(tmp_path: Path, files: dict[str, int]) -> None:
    def act(_: int, stdout: int, stderr: int) -> None:
        for number in range(50):
            os.write(stdout if number % 2 else stderr, b"%d " % number)

    with our_streams(files["null"], files["out"], files["out"]):
        attend(act, interactive=False)
    assert (tmp_path / "out").read_text().split() == [str(number) for number in range(50)]


def test_stdin_is_nothing_unless_it_is_wished_for(tmp_path: Path, files: dict[str, int]) -> None:
    os.write(files["write"], b"typed")
    os.close(files["write"])
    with our_streams(files["read"], files["out"], files["err"]):
        attend(echo, interactive=False)
        assert (tmp_path / "out").read_bytes() == b""
        attend(echo, interactive=True)
    assert (tmp_path / "out").read_bytes() == b"typed" and (tmp_path / "err").read_bytes() == b"done\ndone\n"


def test_a_file_as_stdin_is_given_as_it_is(tmp_path: Path, files: dict[str, int]) -> None:
    (tmp_path / "in").write_bytes(PLENTY)
    with our_streams(files["in"], files["out"], files["err"]):
        attend(echo, interactive=True)
    assert (tmp_path / "out").read_bytes() == PLENTY


def test_a_command_that_reads_no_more_does_not_keep_us(tmp_path: Path, files: dict[str, int]) -> None:
    def act(stdin: int, stdout: int, _: int) -> None:
        os.write(stdout, os.read(stdin, 3))

    os.write(files["write"], b"abcdef")
    with our_streams(files["read"], files["out"], files["err"]):
        attend(act, interactive=True)
    assert (tmp_path / "out").read_bytes() == b"abc"


def test_nobody_who_reads_our_output_is_no_error(files: dict[str, int]) -> None:

    def act(_: int, stdout: int, __: int) -> None:
        os.write(stdout, b"x")

    os.close(files["read"])
    handler = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        with our_streams(files["null"], files["write"], files["err"]):
            attend(act, interactive=False)
    finally:
        signal.signal(signal.SIGPIPE, handler)


def test_streams_that_a_command_can_open_are_given_as_they_are(files: dict[str, int]) -> None:
    """The null device, and a pipe of ours where the command is ourselves."""
    with our_streams(files["null"], files["null"], files["null"]), Streams(interactive=True, is_own=False) as streams:
        assert streams.opened(SPEC)[1:] == (1, 2)
    with our_streams(files["null"], files["write"], files["write"]), Streams(interactive=False, is_own=True) as streams:
        assert streams.opened(SPEC)[1:] == (1, 2)
    with (
        our_streams(files["null"], files["write"], files["write"]),
        Streams(interactive=False, is_own=False) as streams,
    ):
        assert streams.opened(SPEC)[1] not in (1, 2)


# -- terminals
# -------------------------------------------------------------------------------------------------------------


def test_a_terminal_types_what_we_are_given_and_shows_what_comes(tmp_path: Path, files: dict[str, int]) -> None:
    def act(stdin: int, stdout: int, _: int) -> None:
        assert os.isatty(stdin) and os.isatty(stdout)
        line = os.read(stdin, 100)
        os.write(stdout, b"got " + line)

    os.write(files["write"], b"hello\n")
    with (
        our_streams(files["read"], files["out"], files["err"]),
        Terminal(interactive=True) as terminal,
        closing(Command(act, terminal.opened(SPEC))) as command,
    ):
        assert os.path.samestat(os.stat(terminal.path), os.fstat(terminal.inner))
        terminal.join(command)
        terminal.drain()
    assert (tmp_path / "out").read_bytes() == b"hello\r\ngot hello\r\n"


def test_the_end_of_our_input_is_typed_as_that(tmp_path: Path, files: dict[str, int]) -> None:
    def act(stdin: int, stdout: int, _: int) -> None:
        os.write(stdout, b"end" if os.read(stdin, 100) == b"" else b"?")

    os.close(files["write"])
    with (
        our_streams(files["read"], files["out"], files["err"]),
        Terminal(interactive=True) as terminal,
        closing(Command(act, terminal.opened(SPEC))) as command,
    ):
        terminal.join(command)
    assert (tmp_path / "out").read_bytes().endswith(b"end")


def test_our_terminal_is_raw_meanwhile_and_then_as_it_was() -> None:
    outer, inner = os.openpty()
    before = termios.tcgetattr(inner)

    def is_changed(member: int, bit: int) -> bool:
        deadline = time.monotonic() + 5
        while termios.tcgetattr(inner)[member] & bit and time.monotonic() < deadline:
            time.sleep(0.001)
        return not termios.tcgetattr(inner)[member] & bit

    changed = []
    try:
        with our_streams(inner, inner, inner):
            for interactive, member, bit in ((True, 3, termios.ICANON), (False, 1, termios.OPOST)):

                def act(*_: int, member: int = member, bit: int = bit) -> None:
                    changed.append(is_changed(member, bit))

                with (
                    Terminal(interactive=interactive) as terminal,
                    closing(Command(act, terminal.opened(SPEC))) as command,
                ):
                    terminal.join(command)
        assert changed == [True, True] and termios.tcgetattr(inner)[:4] == before[:4]
    finally:
        os.close(outer)
        os.close(inner)


# -- owners beyond the namespace
# -------------------------------------------------------------------------------------------

DIFF_ID = Digest.of(b"layer")
BEYOND = Demands(by_uid=Owned(path="f", uid=5000, gid=0))
DEVICE = Demands(device="dev/sda")


def isolation(tier: Tier, ids: int = 10) -> Isolation:
    extents = ((0, 1000, ids),)
    return Isolation(tier=tier, id_map=IdMap(tag="x", uids=extents, gids=extents, helpers=None))


@pytest.mark.parametrize(
    ("tier", "demands", "uid", "emulated", "opens"),
    [
        (RANGE, None, 5, False, False),
        (RANGE, None, 11, True, False),
        (RANGE, BEYOND, 0, True, False),
        (RANGE, DEVICE, 0, True, True),
        (SINGLE, BEYOND, 5000, False, False),
        (SINGLE, DEVICE, 0, False, True),
        (PROOT, BEYOND, 0, False, False),
    ],
)
def test_what_is_emulated_for_a_container(
    tmp_path: Path, tier: Tier, demands: Demands | None, uid: int, emulated: bool, opens: bool
) -> None:
    snapshots = Snapshots(StateDir.open(tmp_path))
    if demands is not None:
        snapshots.note_demands(DIFF_ID, demands.encode())
    reach = reach_of(isolation(tier), snapshots, [DIFF_ID], ProcessUser(uid=uid, gid=0, groups=(0,), home="/"))
    assert (reach.emulated, reach.opens) == (emulated, opens) and bool(reach.cause) == emulated


def test_a_chroot_refuses_what_nobody_emulates_there(tmp_path: Path) -> None:
    snapshots = Snapshots(StateDir.open(tmp_path))
    snapshots.note_demands(DIFF_ID, BEYOND.encode())
    root = ProcessUser(uid=0, gid=0, groups=(0,), home="/")
    with pytest.raises(SandboxError, match="isolation chroot emulates none"):
        reach_of(isolation(CHROOT), snapshots, [DIFF_ID], root)


def test_a_failure_of_an_emulated_run_names_why_it_was_one(tmp_path: Path) -> None:
    snapshots = Snapshots(StateDir.open(tmp_path))
    user = ProcessUser(uid=11, gid=0, groups=(0,), home="/")
    with pytest.raises(SandboxError, match="user 11:0 is not available here"), reach_of(isolation(RANGE), snapshots, [],
        user).explaining_losses(isolation(RANGE)):  # fmt: skip
        raise SandboxError("seccomp is refused", remedy="x")
    plain = ProcessUser(uid=1, gid=0, groups=(0,), home="/")
    with pytest.raises(SandboxError, match=r"^seccomp is refused"), reach_of(isolation(RANGE), snapshots, [],
        plain).explaining_losses(isolation(RANGE)):  # fmt: skip
        raise SandboxError("seccomp is refused", remedy="x")


# -- limits
# ----------------------------------------------------------------------------------------------------------------


def parsed(**changes: object) -> Limits:
    return parse_limits(**({"memory": "", "swap": "", "cpus": "", "pids": 0} | changes))  # type: ignore[arg-type]


def test_limits_by_dockers_rules() -> None:
    assert not parsed().controllers()
    memory = parsed(memory="64m")
    assert (memory.memory_bytes, memory.swap_bytes) == (64 << 20, 128 << 20)
    assert parsed(memory="64m", swap="-1").swap_bytes == -1 and parsed(memory="64m", swap="64m").swap_bytes == 64 << 20
    assert parsed(cpus="0.5").cpus == 0.5 and parsed(pids=-1).pids == 0 and parsed(pids=7).pids == 7


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"memory": "1m"}, "less than a container can have"),
        ({"swap": "64m"}, "needs --memory"),
        ({"memory": "64m", "swap": "32m"}, "memory and swap together"),
        ({"cpus": "many"}, "is not a number"),
        ({"cpus": "0.001"}, "out of range"),
        ({"cpus": "100000"}, "out of range"),
    ],
)
def test_limits_that_are_none(changes: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parsed(**changes)


def test_a_scope_is_wished_for_only_where_there_is_a_manager(tmp_path: Path) -> None:
    assert not limits.has_user_manager({}) and not limits.has_user_manager({"XDG_RUNTIME_DIR": str(tmp_path)})
    limits.begin_in_scope(parsed(), {})
    limits.begin_in_scope(parsed(memory="64m"), {limits.IN_SCOPE: "1"})
