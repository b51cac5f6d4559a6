"""What it costs to note what a RUN reads, in CPU time of ten builds: `ci/bench --only reads`.

Rounds alternate on one state directory. Exit code 1 says that the builds take more than the budget together.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench.keeping import one_round
from tests.bench.startup import copied, installed

BUDGET = 1.03
ROUNDS, FILES, TIMES = 5, 1000, 10  # each command some times, so that it takes as long as a short build
READS = {"TIFFIN_CACHE_READS": "1"}
BASE = """FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
WORKDIR /app
COPY . .
"""
COMMANDS = (
    "tar cf /out.tar .",
    "grep -r no-such-word . || true",
    "find . -name '*7' -exec sha256sum {} + > /sums",
    "cat src/*/* | gzip > /all.gz",
    "sort src/*/* > /sorted",
    "cp -r src /copy$n",
    "tar xf packages.tar -C /",
    "gzip -c packages.tar > /packages.gz",
    "find . | sort | md5sum > /names",
    "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo $i > /count",
)


def main(arguments: Sequence[str]) -> int:
    """Measure, print a table, return the exit code."""
    parser = argparse.ArgumentParser(prog="ci/bench --only reads")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tiffin-reads-") as name:
        folder = Path(name)
        program = installed(folder, "ours", copied(folder / "source")) / "bin/tiffin"
        context = folder / "context"
        (context / "src").mkdir(parents=True)
        shutil.copy("/bin/busybox", context / "busybox")
        for number in range(FILES):
            file = context / f"src/d{number % 20}/f{number}"
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"line {number}\n" * 200)
        shutil.make_archive(str(context / "packages"), "tar", context / "src")
        count, sums = iter(range(100 * given.rounds + 100)), [0.0, 0.0]
        print(f"CPU time in ms, median of {given.rounds} rounds; without --cache-reads, and with it")  # noqa: T201
        for command in COMMANDS:

            def prepare(command: str = command) -> None:
                (context / "Dockerfile").write_text(
                    f"{BASE}RUN : {next(count)}; for n in $(seq {TIMES}); do {command}; done\n"
                )

            rounds = [
                one_round(program, folder, prepare, ({}, READS), number)[0] for number in range(given.rounds + 2)
            ][2:]
            before, now = (statistics.median(values) * 1000 for values in zip(*rounds, strict=True))
            sums = [sums[0] + before, sums[1] + now]
            print(f"{command[:40]:40} {before:8.1f} {now:8.1f}   {now / before:.3f}x")  # noqa: T201
        print(f"{'all of them':40} {sums[0]:8.1f} {sums[1]:8.1f}   {sums[1] / sums[0]:.3f}x")  # noqa: T201
        return int(sums[1] > BUDGET * sums[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
