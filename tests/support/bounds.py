"""Compare what the unit tests cover with the bounds of ci/coverage.toml.

Run as a program: `python -m tests.support.bounds REPORT`, a report of coverage in JSON. It tells each folder, and ends
with 1 where one is below its bound.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

BOUNDS = Path(__file__).parent.parent.parent / "ci/coverage.toml"


def shares(report: Mapping[str, object]) -> dict[str, float]:
    """The share of lines that are covered, in percent, of each folder."""
    covered: dict[str, int] = {}
    lines: dict[str, int] = {}
    files = report["files"]
    assert isinstance(files, dict)
    for name, found in files.items():
        folder = str(PurePosixPath(name.removeprefix("tiffin/")).parent)
        covered[folder] = covered.get(folder, 0) + found["summary"]["covered_lines"]
        lines[folder] = lines.get(folder, 0) + found["summary"]["num_statements"]
    return {folder: 100 * covered[folder] / count for folder, count in lines.items() if count}


def faults(found: Mapping[str, float], bounds: Mapping[str, float]) -> list[str]:
    """Return what is wrong: a folder below its bound, one without a bound, a bound without a folder."""
    wrong = [
        f"{folder}: {found[folder]:.1f} % of its lines are covered, and {bound} % have to be"
        for folder, bound in bounds.items()
        if folder in found and found[folder] < bound
    ]
    wrong += [f"{folder} has no bound in ci/coverage.toml" for folder in found if folder not in bounds]
    return wrong + [
        f"{folder} of ci/coverage.toml is not a folder with code" for folder in bounds if folder not in found
    ]


def main(path: str) -> int:
    bounds = tomllib.loads(BOUNDS.read_text())["percent"]
    found = shares(json.loads(Path(path).read_text()))
    for folder in sorted(found):
        print(f"{folder:28} {found[folder]:5.1f} %")  # noqa: T201
    wrong = faults(found, bounds)
    for text in wrong:
        print(f"error: {text}", file=sys.stderr)  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
