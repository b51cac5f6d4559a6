"""Whatever a RUN does, when its build is over there is no process, no mount and no file of it; in every tier."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import assert_nothing_left
from tests.minimal_image import write_image
from tests.run_machine import wait_until

pytestmark = [pytest.mark.userns, pytest.mark.xdist_group("leftovers")]
TIMEOUT_SECONDS = 120
MAX_PIDS = 100
DISK = "48m"
# a directory of /proc covered, as a container runtime does it: the kernel then refuses a fresh /proc
MASKED = [
    "unshare",
    "-m",
    "--propagation",
    "private",
    "sh",
    "-c",
    'mount -t tmpfs -o ro none /proc/irq && exec "$@"',
    "sh",
]
TIERS = {
    "range": ((), "range"),
    "range-masked": (MASKED, "range"),
    "single": ((), "single"),
    "single-masked": (MASKED, "single"),
    "chroot": ((), "chroot"),
}
# stubborn in every way: a session of its own, deaf to signals, with output kept open and children of its own
DAEMONS = "(trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM HUP INT; sleep MARK & while :; do sleep 0.05; done' &) ; (setsid sleep MARK &)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """tiffin on `state` with one tier; `mark` is an argument of every process that a test leaves to be killed."""

    prefix: Sequence[str]
    name: str
    state: Path
    mark: str

    def start(self, context: Path, **options: object) -> subprocess.Popen[str]:
        tool = [sys.executable, "-m", "builder", "--root", str(self.state), "build", "--isolation", self.name]
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


@pytest.fixture(params=TIERS)
def tier(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tier]:
    """The state directory is on a small file system of its own."""
    if os.getuid() != 0:
        pytest.skip("making file systems and control groups takes root")
    prefix, name = TIERS[request.param]
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", disk], check=True)
    try:
        write_image(disk / "state")
        yield Tier(prefix=prefix, name=name, state=disk / "state", mark=f"9{os.getpid():07d}")  # seconds
    finally:
        subprocess.run(["umount", disk], check=True)


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


def test_a_killed_tiffin_takes_its_commands_along(tier: Tier, tmp_path: Path) -> None:
    """Files are removed by the next command, which sees that nobody holds them."""
    process = tier.start(tier.context(tmp_path / "c", f"{DAEMONS}; while :; do sleep 0.05; done"))
    wait_until(lambda: len(tier.marked()) >= 2)
    process.kill()
    process.communicate(timeout=TIMEOUT_SECONDS)
    wait_until(lambda: not tier.marked())
    assert tier.build(tier.context(tmp_path / "d", "true")).returncode == 0
    tier.check()
