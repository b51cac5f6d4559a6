"""What history, logs and kept failures cost a build, with them and without: `ci/bench --only keeping`.

Rounds alternate on one state directory, and so does who goes first, so that whatever else the machine does meets both.
Exit code 1 says that a build takes more CPU time than the budget. What is done while a RUN runs counts there, though
nobody waits for it, as the elapsed time shows.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.bench.startup import copied, installed

BUDGET = 1.02
ROUNDS, STEPS = 40, 60
WITHOUT = {"TIFFIN_BUILD_HISTORY": "0", "TIFFIN_KEPT_FAILURES": "0"}


def main(arguments: Sequence[str]) -> int:
    """Measure, print a table, return the exit code."""
    parser = argparse.ArgumentParser(prog="ci/bench --only keeping")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tiffin-keeping-") as name:
        folder = Path(name)
        program = installed(folder, "ours", copied(folder / "source")) / "bin/tiffin"
        context = folder / "context"
        context.mkdir()
        shutil.copy("/bin/busybox", context / "busybox")
        runs = "".join(f"RUN echo {number} >/f{number}\n" for number in range(STEPS - 1))
        file, lines = context / "Dockerfile", f"FROM scratch\nCOPY busybox /bin/sh\n{runs}"
        count = iter(range(10 * given.rounds + 100))
        builds: dict[str, Callable[[], object]] = {
            f"{STEPS} steps, nothing changed": lambda: file.write_text(lines),
            f"{STEPS} steps, the last changed": lambda: file.write_text(f"{lines}RUN echo {next(count)} >/last\n"),
            f"{STEPS} steps, the last fails": lambda: file.write_text(f"{lines}RUN echo {next(count)}; exit 1\n"),
            f"{STEPS} steps, all run": lambda: file.write_text(f"{lines.replace('/f', f'/{next(count)}-')}"),
        }
        print(f"ms, median of {given.rounds} rounds; without anything kept, and as it is")  # noqa: T201
        worst = 0.0
        for title, prepare in builds.items():
            rounds = [one_round(program, folder, prepare, (WITHOUT, {}), number) for number in range(given.rounds + 2)]
            for kind, pairs in (
                ("CPU", [cpu for cpu, _ in rounds[2:]]),
                ("elapsed", [elapsed for _, elapsed in rounds[2:]]),
            ):
                before, now = (statistics.median(values) * 1000 for values in zip(*pairs, strict=True))
                ratio = statistics.median(kept / bare for bare, kept in pairs)
                print(f"{title:28} {kind:8} {before:8.1f} {now:8.1f}   {ratio:.3f}x")  # noqa: T201
                worst = max(worst, ratio if kind == "CPU" else 0.0)
        return int(worst > BUDGET)


def one_round(
    program: Path, folder: Path, prepare: Callable[[], object], environs: Sequence[Mapping[str, str]], number: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Build in one environment and in another, every other time the other way round; return the CPU seconds of both,
    and the elapsed ones.
    """
    found = {}
    for place in (0, 1) if number % 2 else (1, 0):
        prepare()
        found[place] = _seconds(program, folder, environs[place])
    return (found[0][0], found[1][0]), (found[0][1], found[1][1])


def _seconds(program: Path, folder: Path, more: Mapping[str, str]) -> tuple[float, float]:
    """Return the CPU time of a build, and the elapsed time."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "TIFFIN_ROOT": str(folder / "state"), **more}
    argv = [str(program), "build", "-q", "-t", "image", str(folder / "context")]
    began = time.perf_counter()
    process = subprocess.Popen(argv, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    elapsed = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode in (0, 1), argv
    return usage.ru_utime + usage.ru_stime, elapsed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
