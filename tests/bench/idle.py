"""What containers in the background cost while they do nothing: the sum of PSS of their processes, for each container.

Prints a Markdown table by process, outermost first. Run by ci/bench --only idle.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.minimal_image import write_image
from tiffin.builder.containers.container import Containers
from tiffin.builder.sandbox.child.reaper import descendants
from tiffin.cache.store.statedir import StateDir

ROLES = ("supervisor", "init", "command")
COUNT = 100
SETTLE_SECONDS = 2.0
KIB_IN_MIB = 1024


def main() -> None:
    """Measure, and leave nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help="containers at once")
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory(prefix="tiffin-idle-") as folder:
        root = Path(folder) / "state"
        write_image(root)
        try:
            for _ in range(count):
                tiffin(root, "run", "-d", "minimal", "sleep", "3600")
            time.sleep(SETTLE_SECONDS)
            sys.stdout.write(table([pss_of(pid) for pid in supervisors(root)]))
        finally:
            names = tiffin(root, "ps", "-aq").split()
            if names:
                tiffin(root, "rm", "-f", *names)


def tiffin(root: Path, *words: str) -> str:
    """Run a command; what it prints."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    argv = [sys.executable, "-m", "tiffin", "--root", str(root), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True, env=environ).stdout


def supervisors(root: Path) -> list[int]:
    return [state.pid for state in Containers(StateDir.open(root)).states()]


def pss_of(supervisor: int) -> list[float]:
    """MiB of a supervisor and of each process below it, which is the only child of the one before."""
    return list(_sizes([supervisor, *(pid for pid, _ in descendants(supervisor))]))


def _sizes(pids: list[int]) -> Iterator[float]:
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        yield sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / KIB_IN_MIB


def table(rows: list[list[float]]) -> str:
    """A row for each process, and one for all."""
    lines = [f"| of {len(rows)} idle containers | MiB each |", "|---|---|"]
    for role, sizes in zip(ROLES, zip(*rows, strict=True), strict=False):
        lines.append(f"| {role} | {sum(sizes) / len(sizes):.1f} |")
    return "\n".join([*lines, f"| together | {sum(map(sum, rows)) / len(rows):.1f} |", ""])


if __name__ == "__main__":
    main()
