"""tiffin bake with 700 applications that share three bases: --print, a first build, and one with nothing changed.

Beside it, in the same run, a `tiffin build` for each of some of them, with nothing changed either. Prints a Markdown
table; run by ci/bench --only bake, as anybody: nothing needs a sandbox.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

BASES, SAMPLE = 3, 20
TARGET = """target "app-{number}" {{
  context = "apps/{number}"
  contexts = {{ base = "target:base-{base}" }}
  args = {{ NUMBER = "{number}", VERSION = VERSION }}
  tags = ["registry.example/team/app-{number}:${{VERSION}}"]
}}
"""
PLAN_SECONDS, REBUILD_SECONDS = 3.0, 10.0  # what issue 16 asks for


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=700)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "work")
        lay_out(place, arguments.targets)
        tiffin = [sys.executable, "-m", "tiffin", "--root", f"{folder}/state"]

        def run(*words: str) -> float:
            began = time.monotonic()
            subprocess.run([*tiffin, *words], cwd=place, check=True, capture_output=True)
            return time.monotonic() - began

        plan = median(arguments.rounds, lambda: run("bake", "--print"))
        first = run("bake", "--progress", "quiet")
        again = median(arguments.rounds, lambda: run("bake", "--progress", "quiet"))
        single = statistics.median(run("build", "-q", "-t", "single", "apps/single") for _ in range(SAMPLE))
        size = (place / "docker-bake.hcl").stat().st_size
    rows = [
        (f"`--print` ({arguments.targets} targets, {size / 1000:.0f} kB)", plan),
        ("build, nothing there yet", first),
        ("build again, nothing changed", again),
        (
            f"{arguments.targets} calls of `tiffin build` instead (one takes {single:.2f} s)",
            single * arguments.targets,
        ),
    ]
    sys.stdout.write("| | seconds |\n|---|---|\n" + "".join(f"| {what} | {seconds:.1f} |\n" for what, seconds in rows))
    sys.stdout.write(f"\nbake takes {again / (single * arguments.targets):.2f} of the time of single builds.\n")
    return int(arguments.targets <= 700 and (plan > PLAN_SECONDS or again > REBUILD_SECONDS))


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


def median(rounds: int, measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(rounds))


if __name__ == "__main__":
    raise SystemExit(main())
