"""What history, logs and kept failures cost a build in CPU time, with them and without: `ci/bench --only keeping`.

Rounds alternate on one state directory, so that whatever else the machine does meets both. Exit code 1 says that a
build takes more than the budget.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
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
        count = iter(range(10 * given.rounds + 10))
        builds: dict[str, Callable[[], object]] = {
            f"{STEPS} steps, nothing changed": lambda: file.write_text(lines),
            f"{STEPS} steps, the last changed": lambda: file.write_text(f"{lines}RUN echo {next(count)} >/last\n"),
            f"{STEPS} steps, the last fails": lambda: file.write_text(f"{lines}RUN echo {next(count)}; exit 1\n"),
            f"{STEPS} steps, all run": lambda: file.write_text(f"{lines.replace('/f', f'/{next(count)}-')}"),
        }
        print(f"CPU time in ms, median of {given.rounds} rounds; without anything kept, and as it is")  # noqa: T201
        worst = 0.0
        for title, prepare in builds.items():
            rounds = [one_round(program, folder, prepare, WITHOUT, {}) for _ in range(given.rounds + 1)][1:]
            before, now = (statistics.median(values) * 1000 for values in zip(*rounds, strict=True))
            ratio = statistics.median(kept / bare for bare, kept in rounds)
            worst = max(worst, ratio)
            print(f"{title:28} {before:8.1f} {now:8.1f}   {ratio:.3f}x")  # noqa: T201
        return int(worst > BUDGET)


def one_round(
    program: Path, folder: Path, prepare: Callable[[], object], *environs: Mapping[str, str]
) -> tuple[float, float]:
    """Build in one environment and then in another; return the CPU seconds of both."""
    found = []
    for more in environs:
        prepare()
        found.append(_cpu_seconds(program, folder, more))
    return found[0], found[1]


def _cpu_seconds(program: Path, folder: Path, more: Mapping[str, str]) -> float:
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "TIFFIN_ROOT": str(folder / "state"), **more}
    argv = [str(program), "build", "-q", "-t", "image", str(folder / "context")]
    process = subprocess.Popen(argv, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode in (0, 1), argv
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
