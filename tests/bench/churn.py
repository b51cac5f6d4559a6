"""Start and remove many containers, 20 at once, beside podman and docker: `ci/bench --only containers`.

Rounds alternate, so that whatever else the machine does meets all. One way is `run --rm IMAGE true`, the other `run -d`
and, when that has come back, `rm -f`. All as root with the machine's network and the same busybox. Afterwards nothing
of tiffin's may be left: exit code 1 says that something is, or that a container failed. The processor time of what a
container takes, with all that it leaves to others (supervisors, conmon), is what counts where other work is done on the
machine; docker's is its daemon's, and not known.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench.dockerd import running_docker
from tests.bench.startup import copied, installed
from tests.support.cli_runner import CliRunner
from tests.support.container_faults import groups_left
from tests.support.minimal_image import base_files, layer, write_image
from tiffin.builder.sandbox.child import kernel
from tiffin.builder.sandbox.child.reaper import descendants

COUNT, AT_ONCE, ROUNDS = 500, 20, 5
IMAGE = "minimal"
SETTLE_SECONDS = 10.0
SAID_CHARACTERS = 4000
PODMAN = ("podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs")
LIMITS = (
    "--ulimit=nofile=1024:1024",
    "--ulimit=nproc=1024:1024",
)  # Debian's podman wants more than a machine may allow


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What runs containers; `run` are the words after `run` that make it like the others."""

    name: str
    tool: Sequence[str]
    run: Sequence[str]
    is_served: bool = False  # by a daemon
    at_once: Sequence[str] = ()  # options of `rm -f` that keep it from waiting, as the others do not

    def ran(self, number: int) -> list[list[str]]:
        """Return what runs a command to its end."""
        return [[*self.tool, "run", "--rm", *self.run, IMAGE, "true"]]

    def pair(self, number: int) -> list[list[str]]:
        """Return what begins a container, and then removes it."""
        name = f"churn-{number}"
        begin = [*self.tool, "run", "-d", "--name", name, *self.run, IMAGE, "sleep", "1000"]
        return [begin, [*self.tool, "rm", "-f", *self.at_once, name]]


def main(arguments: Sequence[str]) -> int:
    """Measure, print a table, return the exit code."""
    parser = argparse.ArgumentParser(prog="ci/bench --only containers")
    parser.add_argument("--count", type=int, default=COUNT, help="containers of tiffin, for each way")
    parser.add_argument("--others", type=int, default=COUNT // 5, help="containers of the others, for each way")
    parser.add_argument("--at-once", type=int, default=AT_ONCE)
    given = parser.parse_args(arguments)
    failures: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tiffin-churn-")))
        engines = list(_engines(folder, stack))
        counts = [given.count if engine.name == "tiffin" else given.others for engine in engines]
        sys.stdout.write(f"| {given.at_once} at once | {' | '.join(e.name for e in engines)} |\n")
        sys.stdout.write("|---" * (len(engines) + 1) + "|\n")
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        lasting = {pid for pid, _ in descendants(os.getpid())}  # dockerd
        for way in ("ran", "pair"):
            seconds, cpu_seconds = [0.0] * len(engines), [0.0] * len(engines)
            for number, (place, engine) in itertools.product(range(ROUNDS), enumerate(engines)):
                share = range(number, counts[place], ROUNDS)
                before = _cpu_seconds(lasting)
                commands = engine.ran if way == "ran" else engine.pair
                took, wrong = _measured(commands, share, given.at_once, folder / "said")
                seconds[place] += took
                cpu_seconds[place] += _cpu_seconds(lasting) - before
                failures += wrong
            rates = [count / took for count, took in zip(counts, seconds, strict=True)]
            costs = [1000 * used / count for count, used in zip(counts, cpu_seconds, strict=True)]
            rest = [f"{rate:.1f} ({rates[0] / rate:.1f}x)" for rate in rates[1:]]
            what = "run --rm true" if way == "ran" else "run -d and rm -f"
            sys.stdout.write(f"| {what}, per second | {' | '.join([f'{rates[0]:.1f}', *rest])} |\n")
            rest = [
                "" if e.is_served else f"{cost:.0f} ({cost / costs[0]:.1f}x)"
                for e, cost in zip(engines, costs, strict=True)
            ]
            sys.stdout.write(f"| {what}, ms of CPU each | {' | '.join([f'{costs[0]:.0f}', *rest[1:]])} |\n")
            sys.stdout.flush()
        failures += _left(folder)
        if failures:
            sys.stderr.write((folder / "said").read_text()[-SAID_CHARACTERS:])
    for line in failures:
        sys.stderr.write(f"{line}\n")
    return int(bool(failures))


def _measured(
    commands: Callable[[int], list[list[str]]], numbers: range, at_once: int, said: Path
) -> tuple[float, list[str]]:
    """Run what each number takes, one command after another; return the time, and what went wrong.

    Nothing but a wait is done beside them: the processor's time is theirs.
    """
    begun = time.monotonic()
    left, wrong = [commands(number) for number in reversed(numbers)], []
    running: dict[int, tuple[list[str], list[list[str]]]] = {}
    while left or running:
        while left and len(running) < at_once:
            _begin(left.pop(), running, said)
        pid, status = os.wait()
        if pid not in running:  # a supervisor, which was left to us
            continue
        argv, rest = running.pop(pid)
        if status:
            wrong.append(f"{' '.join(argv)}: {os.waitstatus_to_exitcode(status)}")
        elif rest:
            _begin(rest, running, said)
    return time.monotonic() - begun, wrong


def _begin(commands: list[list[str]], running: dict[int, tuple[list[str], list[list[str]]]], said: Path) -> None:
    """Start the first of commands; what it says goes to a file."""
    argv, *rest = commands
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, str(said), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600),
    ]
    running[os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions)] = (argv, rest)


def _cpu_seconds(lasting: set[int]) -> float:
    """Return what all children took that have ended; those that were left to us are waited for, but for `lasting`."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if {pid for pid, _ in descendants(os.getpid())} <= lasting:
            break
        time.sleep(0.05)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _engines(folder: Path, stack: ExitStack) -> Iterator[Engine]:
    """Yield those that are here, each with the image."""
    write_image(folder / "state")
    place = installed(folder, "tiffin", copied(folder / "source"))
    yield Engine(name="tiffin", tool=[str(place / "bin/tiffin"), "--root", str(folder / "state")], run=[])
    archive = folder / "root.tar"
    archive.write_bytes(layer(base_files()))
    assert tarfile.is_tarfile(archive)
    if shutil.which("podman"):
        tool = [*PODMAN, f"--root={folder}/podman", f"--runroot={folder}/podman-run"]
        subprocess.run([*tool, "import", "-q", str(archive), IMAGE], check=True, stdout=subprocess.DEVNULL)
        stack.callback(lambda: subprocess.run([*tool, "rm", "-af", "-t", "0"], check=False, capture_output=True))
        stack.callback(lambda: subprocess.run(["umount", f"{folder}/podman/overlay"], check=False, capture_output=True))
        yield Engine(name="podman", tool=tool, run=["--network=host", *LIMITS], at_once=["-t", "0"])
    if shutil.which("dockerd"):
        (folder / "docker").mkdir()
        docker = stack.enter_context(running_docker(folder / "docker"))
        subprocess.run([*docker, "import", str(archive), IMAGE], check=True, stdout=subprocess.DEVNULL)
        yield Engine(name="docker", tool=docker, run=["--network=host"], is_served=True)


def _left(folder: Path) -> list[str]:
    """Return what is left of tiffin's containers, once what ends has had the time to."""
    cli = CliRunner(folder=folder, python=sys.executable, env=os.environ)
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        found = [*cli.left(), *groups_left()]
        if not found or time.monotonic() > deadline:
            return [f"left: {item}" for item in found]
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
