"""Compare what the unit tests ran with the bounds of ci/coverage.toml.

`python -m tests.support.bounds FILE`, as tests.support.ran_lines wrote it, tells each folder, and ends with 1 where one
is below its bound. `… FILE builder/api/push.py builder/oci` tells which lines of these did not run.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.support.ran_lines import CHECKOUT, lines_of, opened

BOUNDS = CHECKOUT / "ci/coverage.toml"

Lines = Mapping[str, "tuple[set[int], set[int]]"]  # of each file: what ran, all that there are


def report(path: str) -> Lines:
    """The lines of each file of the checkout that ran, and all of them."""
    found: dict[str, tuple[set[int], set[int]]] = {}
    for name, page in opened(path).items():
        lines = lines_of(name)
        found[str(Path(name).relative_to(CHECKOUT))] = ({line for line in lines if page[line]}, lines)
    return found


def shares(lines: Lines) -> dict[str, float]:
    """The share of lines that ran, in percent, of each folder."""
    ran: dict[str, int] = {}
    count: dict[str, int] = {}
    for name, (some, all_of_them) in lines.items():
        folder = str(Path(name).parent)
        ran[folder] = ran.get(folder, 0) + len(some)
        count[folder] = count.get(folder, 0) + len(all_of_them)
    return {folder: 100 * ran[folder] / count[folder] for folder in count if count[folder]}


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


def missing(lines: Lines, below: str) -> Iterable[str]:
    """The files below a path with lines that did not run, and these."""
    for name, (ran, all_of_them) in sorted(lines.items()):
        if Path(name).is_relative_to(below) and ran != all_of_them:
            yield f"{name} {len(ran)}/{len(all_of_them)}: {' '.join(map(str, sorted(all_of_them - ran)))}"


def main(path: str, *below: str) -> int:
    lines = report(path)
    if below:
        print("\n".join(text for each in below for text in missing(lines, each)))  # noqa: T201
        return 0
    return verdict(shares(lines), tomllib.loads(BOUNDS.read_text())["percent"])


def verdict(found: Mapping[str, float], bounds: Mapping[str, float]) -> int:
    for folder in sorted(found):
        print(f"{folder:36} {found[folder]:5.1f} %")  # noqa: T201
    wrong: Sequence[str] = faults(found, bounds)
    for text in wrong:
        print(f"error: {text}", file=sys.stderr)  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
