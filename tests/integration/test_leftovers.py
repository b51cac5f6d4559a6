"""Whatever a RUN does, when its build is over there is no process, no mount and no file of it; in every tier."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import assert_nothing_left
from tests.support.cli_runner import wait_until
from tests.support.minimal_image import write_image
from tests.support.pods import MASKED_PROC

pytestmark = [pytest.mark.userns, pytest.mark.xdist_group("leftovers")]
TIMEOUT_SECONDS = 120
IMPATIENCE_SECONDS = 0.005  # between signals
MAX_PIDS = 100
DISK = "48m"
TIERS = {
    "range": ((), "range"),
    "range-masked": (MASKED_PROC, "range"),
    "range-copied": ((), "range"),
    "single": ((), "single"),
    "single-masked": (MASKED_PROC, "single"),
    "chroot": ((), "chroot"),
    "proot": ((), "proot"),
}
COPIED = "range-copied"  # the state lies on overlayfs, so each stage has a copied root
# stubborn in every way: a session of its own, deaf to signals, with output kept open and children of its own
DAEMONS = (
    "(trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM HUP INT; sleep MARK & while :; do sleep 0.05; done' &) ; "
    "(setsid sleep MARK &)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """tiffin on `state` with one tier; `mark` is an argument of every process that a test leaves to be killed."""

    prefix: Sequence[str]
    name: str
    state: Path
    mark: str  # also a number of seconds
    loaders: frozenset[Path] = frozenset()  # those of PRoot that were there before

    def start(self, context: Path, **options: object) -> subprocess.Popen[str]:
        tool = [sys.executable, "-m", "tiffin", "--root", str(self.state), "build", "--isolation", self.name]
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            [*self.prefix, *tool, "--no-cache", "--progress", "plain", str(context)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            **options,
        )

    def build(self, context: Path, **options: object) -> subprocess.CompletedProcess[str]:
        process = self.start(context, **options)
        out, err = process.communicate(timeout=TIMEOUT_SECONDS)
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def context(self, folder: Path, command: str) -> Path:
        folder.mkdir()
        (folder / "Dockerfile").write_text(f"FROM minimal\nRUN {command.replace('MARK', self.mark)}\n")
        return folder

    def marked(self) -> list[str]:
        """Processes that are left."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                if self.mark.encode() in line:
                    found.append(f"{pid}: {line!r}")
        return found

    def check(self) -> None:
        assert self.marked() == []
        assert_nothing_left(self.state)
        if self.name == "proot":
            assert loaders() <= self.loaders, "PRoot's loader is left in /tmp"


def loaders() -> frozenset[Path]:
    """Files of PRoots that have ended."""
    found = Path("/tmp").glob("prooted-*")
    return frozenset(path for path in found if not Path("/proc", path.name.split("-")[1]).exists())


@pytest.fixture(params=TIERS)
def tier(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tier]:
    """The state directory is on a small file system of its own."""
    if os.getuid() != 0:
        pytest.skip("making file systems and control groups takes root")
    prefix, name = TIERS[request.param]
    with small_disk(tmp_path / "disk", overlay=request.param == COPIED) as disk:
        write_image(disk / "state")
        yield Tier(prefix=prefix, name=name, state=disk / "state", mark=f"9{os.getpid():07d}", loaders=loaders())


@contextlib.contextmanager
def small_disk(place: Path, *, overlay: bool = False) -> Iterator[Path]:
    """A small file system of its own, or an overlay on one."""
    place.mkdir()
    with contextlib.ExitStack() as stack:
        mount(stack, place, "-t", "tmpfs", "-o", f"size={DISK}")
        if overlay:
            for name in ("lower", "upper", "work", "merged"):
                (place / name).mkdir()
            parts = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
            mount(stack, place / "merged", "-t", "overlay", "-o", parts)
        yield place / "merged" if overlay else place


def mount(stack: contextlib.ExitStack, place: Path, *words: str) -> None:
    subprocess.run(["mount", *words, "none", place], check=True)
    stack.callback(lambda: subprocess.run(["umount", place], check=True))


@pytest.fixture
def few_pids() -> Iterator[Path]:
    """A control group that allows few processes."""
    top = next(
        path for path in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")) if (path / "cgroup.procs").exists()
    )
    group = top / f"tiffin-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / "pids.max").write_text(str(MAX_PIDS))
        yield group
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


@pytest.fixture
def none_tier(tmp_path: Path) -> Iterator[Tier]:
    """Where no command can be run."""
    if os.getuid() != 0:
        pytest.skip("making file systems takes root")
    with small_disk(tmp_path / "disk") as disk:
        write_image(disk / "state")
        yield Tier(prefix=(), name="none", state=disk / "state", mark=f"9{os.getpid():07d}")


@contextlib.contextmanager
def stalled_server() -> Iterator[tuple[str, threading.Event]]:
    """The URL of a file that never comes to its end, and what tells that it has begun."""
    begun, over = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as client:
                client.recv(1 << 16)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + bytes(1 << 20))
                begun.set()
                over.wait(TIMEOUT_SECONDS)

        server = threading.Thread(target=serve)
        server.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/file", begun
        over.set()
        server.join()


@pytest.mark.parametrize("times", [1, 20])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_build_without_run_that_is_ended(none_tier: Tier, tmp_path: Path, number: signal.Signals, times: int) -> None:
    """Impatience, signals that come while the first is obeyed, leaves no more."""
    context = tmp_path / "c"
    context.mkdir()
    with stalled_server() as (url, begun):
        (context / "Dockerfile").write_text(f"FROM minimal\nCOPY Dockerfile /a\nADD {url} /b\n")
        process = none_tier.start(context)
        assert begun.wait(TIMEOUT_SECONDS)
        for _ in range(times):
            process.send_signal(number)
            time.sleep(IMPATIENCE_SECONDS)
        _, err = process.communicate(timeout=TIMEOUT_SECONDS)
    assert "Traceback" not in err
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), err
    if number == signal.SIGKILL:  # the next command removes what nobody holds
        (context / "Dockerfile").write_text("FROM minimal\nCOPY Dockerfile /a\n")
        assert none_tier.build(context).returncode == 0
    none_tier.check()


def test_a_build_without_run_on_a_full_disk(none_tier: Tier, tmp_path: Path) -> None:
    context = none_tier.context(tmp_path / "c", "true")
    (context / "Dockerfile").write_text("FROM minimal\nCOPY big /big\n")
    (context / "big").write_bytes(os.urandom(60 << 20))
    done = none_tier.build(context)
    assert done.returncode == 1
    assert "error: no space left while writing" in done.stderr
    none_tier.check()
    (context / "big").write_bytes(b"small")
    assert none_tier.build(context).returncode == 0
    none_tier.check()


def test_daemons_that_ignore_signals_end_with_the_step(tier: Tier, tmp_path: Path) -> None:
    done = tier.build(tier.context(tmp_path / "c", DAEMONS + "; echo started"))
    assert done.returncode == 0, done.stderr
    assert "started" in done.stderr
    assert ("share the process numbers" in done.stderr) == bool(tier.prefix)
    tier.check()


def test_a_full_disk_is_told(tier: Tier, tmp_path: Path) -> None:
    done = tier.build(tier.context(tmp_path / "c", DAEMONS + "; dd if=/dev/zero of=/big bs=1M count=100"))
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    tier.check()
    assert tier.build(tier.context(tmp_path / "d", "true")).returncode == 0


def test_a_fork_bomb_ends_with_the_step(tier: Tier, tmp_path: Path, few_pids: Path) -> None:
    """It has all processes there may be; the command that set it off ends in a moment."""
    bomb = "sh -c 'b() { b | b & }; b' MARK & sh -c 'while :; do setsid sleep MARK & done' & sleep 0.5; exit 7"
    done = tier.build(
        tier.context(tmp_path / "c", bomb), preexec_fn=lambda: (few_pids / "cgroup.procs").write_text(str(os.getpid()))
    )
    assert done.returncode != 0
    assert (few_pids / "pids.events").read_text() != "max 0\n", "the bomb did not go off"
    tier.check()


def test_ctrl_c_ends_everything(tier: Tier, tmp_path: Path) -> None:
    context = tier.context(tmp_path / "c", f"trap '' INT TERM; {DAEMONS}; touch /file; while :; do sleep 0.05; done")
    process = tier.start(context)
    wait_until(lambda: len(tier.marked()) >= 2)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    tier.check()


@pytest.mark.parametrize("tier", ["proot"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_nothing_outlives_proot_and_writes_into_the_machine(tier: Tier, tmp_path: Path, number: signal.Signals) -> None:
    """What PRoot traces goes on untranslated, in the machine's own root, if PRoot is gone before it."""
    many = "for i in 1 2 3 4 5 6; do (while :; do touch /escaped-MARK-$i; done) & done; "
    for attempt in range(3):
        context = tier.context(tmp_path / f"c{attempt}", f"{many} while :; do touch /escaped-MARK; done")
        process = tier.start(context)
        wait_until(lambda: len(tier.marked()) >= 6)
        process.send_signal(number)
        process.communicate(timeout=TIMEOUT_SECONDS)
        wait_until(lambda: not tier.marked())
        assert list(Path("/").glob("escaped-*")) == []


def test_a_killed_tiffin_takes_its_commands_along(tier: Tier, tmp_path: Path) -> None:
    """Files are removed by the next command, which sees that nobody holds them."""
    process = tier.start(tier.context(tmp_path / "c", f"{DAEMONS}; while :; do sleep 0.05; done"))
    wait_until(lambda: len(tier.marked()) >= 2)
    process.kill()
    process.communicate(timeout=TIMEOUT_SECONDS)
    wait_until(lambda: not tier.marked())
    assert tier.build(tier.context(tmp_path / "d", "true")).returncode == 0
    tier.check()
