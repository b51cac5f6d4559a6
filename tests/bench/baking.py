"""tiffin bake with 700 applications that share three bases: --print, a first build, and one with nothing changed.

Beside it, in the same run, a `tiffin build` for each of some of them, with nothing changed either. Prints a Markdown
table; run by ci/bench --only bake, as anybody: nothing needs a sandbox.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

Cost = tuple[float, float]  # seconds, and those of a processor
TARGETS, BASES, SAMPLE = 700, 3, 20
TARGET = """target "app-{number}" {{
  context = "apps/{number}"
  contexts = {{ base = "target:base-{base}" }}
  args = {{ NUMBER = "{number}", VERSION = VERSION }}
  tags = ["registry.example/team/app-{number}:${{VERSION}}"]
}}
"""
PLAN_SECONDS, REBUILD_SECONDS = 3.0, 10.0  # of a processor at most: other work on the machine does not count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=TARGETS)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "work")
        lay_out(place, arguments.targets)
        tiffin = [sys.executable, "-m", "tiffin", "--root", f"{folder}/state"]

        def run(*words: str) -> Cost:
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            subprocess.run([*tiffin, *words], cwd=place, check=True, capture_output=True)
            seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
            return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

        count = arguments.targets
        plan = median(arguments.rounds, lambda: run("bake", "--print"))
        first = run("bake", "--progress", "quiet")
        again = median(arguments.rounds, lambda: run("bake", "--progress", "quiet"))
        single = median(SAMPLE, lambda: run("build", "-q", "-t", "single", "apps/single"))
        size = (place / "docker-bake.hcl").stat().st_size
    singles = (single[0] * count, single[1] * count)
    rows = [
        (f"`--print` ({count} targets, {size / 1000:.0f} kB)", plan),
        ("build, nothing there yet", first),
        ("build again, nothing changed", again),
        (f"{count} calls of `tiffin build` instead ({SAMPLE} of them measured)", singles),
    ]
    sys.stdout.write("| | seconds | of a processor |\n|---|---|---|\n")
    sys.stdout.write("".join(f"| {what} | {cost[0]:.1f} | {cost[1]:.1f} |\n" for what, cost in rows))
    sys.stdout.write(f"\nbake takes {again[0] / singles[0]:.2f} of the time of single builds.\n")
    return int(count <= TARGETS and (plan[1] > PLAN_SECONDS or again[1] > REBUILD_SECONDS))


def lay_out(place: Path, count: int) -> None:
    """Write the definition, and what the targets are built from."""
    names = ", ".join(f'"app-{number}"' for number in range(count))
    texts = [f'variable "VERSION" {{ default = "1" }}\ngroup "default" {{ targets = [{names}] }}\n']
    for number in range(BASES):
        write(place / f"bases/{number}", f"FROM scratch\nCOPY file /base\nENV BASE={number}\n", number)
        texts.append(f'target "base-{number}" {{ context = "bases/{number}" }}\n')
    for number in range(count):
        write(place / f"apps/{number}", "FROM base\nARG NUMBER\nARG VERSION\nCOPY file /app\nLABEL v=$VERSION", number)
        texts.append(TARGET.format(number=number, base=number % BASES))
    write(place / "apps/single", "FROM scratch\nARG VERSION\nCOPY file /app\nLABEL v=$VERSION\n", count)
    (place / "docker-bake.hcl").write_text("".join(texts))


def write(folder: Path, dockerfile: str, number: int) -> None:
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text(dockerfile)
    (folder / "file").write_text(str(number))


def median(rounds: int, measure: Callable[[], Cost]) -> Cost:
    costs = [measure() for _ in range(rounds)]
    return statistics.median(cost[0] for cost in costs), statistics.median(cost[1] for cost in costs)


if __name__ == "__main__":
    raise SystemExit(main())
