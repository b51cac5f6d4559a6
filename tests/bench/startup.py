"""What small commands cost in CPU time, this checkout beside another commit: `ci/bench --only startup [--against
COMMIT]`.

Both are installed by pip into environments of their own; their rounds alternate, so that whatever else the machine does
meets both. Exit code 1 says that a command takes more than the budget.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
FIRST = "73a5cc9"  # before there was a budget
BUDGET = 1.05
ROUNDS = 30


def main(arguments: Sequence[str]) -> int:
    """Measure, print a table, return the exit code."""
    parser = argparse.ArgumentParser(prog="ci/bench --only startup")
    parser.add_argument("--against", default=FIRST, metavar="COMMIT")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tiffin-startup-") as name:
        folder = Path(name)
        other = installed(folder, "other", source_of(given.against, folder / "source"))
        ours = installed(folder, "ours", copied(folder / "ours-source"))
        context = folder / "context"
        context.mkdir()
        shutil.copy("/bin/busybox", context / "busybox")
        (context / "Dockerfile").write_text('FROM scratch\nCOPY busybox /bin/true\nCMD ["/bin/true"]\n')
        for place in (other, ours):
            for _ in range(2):
                cpu_seconds(place, ["build", "-q", "-t", "image", str(context)])
        commands = {
            "version": ["version"],
            "rebuild, nothing changed": ["build", "-q", "-t", "image", str(context)],
            "run true": ["run", "--rm", "image"],
        }
        print(f"CPU time in ms, median of {given.rounds} rounds; {given.against} and this checkout")  # noqa: T201
        worst = 0.0
        for title, words in commands.items():
            rounds = [(cpu_seconds(other, words), cpu_seconds(ours, words)) for _ in range(given.rounds)]
            before, now = (statistics.median(values) * 1000 for values in zip(*rounds, strict=True))
            worst = max(worst, now / before)
            print(f"{title:26} {before:7.1f} {now:7.1f}   {now / before:.2f}x")  # noqa: T201
        return int(worst > BUDGET)


def source_of(commit: str, place: Path) -> Path:
    """Return a copy of the checkout at `commit`."""
    place.mkdir()
    archive = subprocess.run(["git", "-C", str(CHECKOUT), "archive", commit], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(place)], input=archive, check=True)
    return place


def copied(place: Path) -> Path:
    """Return a copy of this checkout as it is, without what git does not know."""
    files = subprocess.run(
        ["git", "-C", str(CHECKOUT), "ls-files", "-z"], check=True, capture_output=True, text=True
    ).stdout.split("\0")
    for name in filter(None, files):
        target = place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, target, follow_symlinks=False)
    return place


def installed(folder: Path, name: str, source: Path) -> Path:
    """Install `source` into an environment; return its folder."""
    place = folder / name
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    subprocess.run([str(place / "bin/pip"), "install", "-q", str(source)], check=True, stderr=subprocess.DEVNULL)
    return place


def cpu_seconds(place: Path, words: Sequence[str]) -> float:
    """Run a command; return the CPU time of it and all that it waited for."""
    environ: Mapping[str, str] = {"PATH": os.environ["PATH"], "HOME": str(place), "TIFFIN_ROOT": str(place / "state")}
    process = subprocess.Popen([str(place / "bin/tiffin"), *words], env=environ, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, words
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
