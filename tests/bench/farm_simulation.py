"""Simulate farms of 10 to 1,000 workers and builds of 100 to 100,000 steps: `ci/bench --only farm`.

Writes docs/benchmarks/farm.json, and draws it to docs/benchmarks/farm.svg. `--quick` leaves the largest builds out and
writes nothing.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.bench.farm_drawing import drawing
from tests.bench.farm_graphs import SHAPES, bound
from tests.bench.farm_model import GIGABIT, SLOWNESS, Simulation, Site

TARGET = Path(__file__).resolve().parents[2] / "docs/benchmarks/farm.json"
GRID = {  # steps of a build -> workers
    100: (10, 30, 100, 300, 1000),
    1000: (10, 30, 100, 300, 1000),
    10_000: (10, 30, 100, 300, 1000),
    100_000: (10, 100, 1000),  # a minute of a processor for each
}
QUICK_STEPS = 1000
AT_MOST = 1.3  # of the bound
LOST = 0.1  # of the workers, in a second run of each
USUAL, NARROW = 40, 10  # Gbit/s of the registry: for all builds, and once more for those of NARROW_STEPS
NARROW_STEPS = 10_000

SLOW = 0.1  # of the workers, in builds of SLOW_STEPS, with speculation and without
SLOW_STEPS = (1000,)
UNAWARE_STEPS = (1000,)  # once more without knowing of what cannot begin yet

Row = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One build on one farm."""

    shape: str
    workers: int
    steps: int
    lost: int = 0
    gigabits: int = USUAL
    slow: int = 0
    speculates: bool = False
    expects: bool = True

    @property
    def is_bounded(self) -> bool:
        """Whether it is to keep to AT_MOST."""
        return not self.lost and not self.slow and self.gigabits == USUAL and self.expects


def simulated(case: Case) -> Row:
    """Return what one build took, beside the bound."""
    graph = SHAPES[case.shape](case.steps)
    site = Site(
        workers=case.workers,
        lost=case.lost,
        registry_rate=case.gigabits * GIGABIT,
        slow=case.slow,
        speculates=case.speculates,
        expects=case.expects,
    )
    least = bound(graph, (case.workers - case.slow) * site.slots + case.slow * site.slots / SLOWNESS)
    outcome = Simulation(graph, site).build()
    return {
        **asdict(case),
        "bound": round(least, 2),
        "ratio": round(outcome.makespan / least, 4),
        **{name: round(value, 2) for name, value in asdict(outcome).items()},
    }


def cases(largest: int) -> Iterator[Case]:
    """Yield every shape, size of a build and size of a farm, without and with losses, and so on."""
    for steps, sizes in GRID.items():
        for shape, workers in itertools.product(SHAPES, sizes):
            usual = Case(shape=shape, workers=workers, steps=steps)
            if steps <= largest:
                yield usual
                if steps < max(GRID) or workers == max(sizes):
                    yield replace(usual, lost=max(1, int(workers * LOST)))
                if steps == NARROW_STEPS:
                    yield replace(usual, gigabits=NARROW)
                if steps in UNAWARE_STEPS:
                    yield replace(usual, expects=False)
                if steps in SLOW_STEPS:
                    yield replace(usual, slow=int(workers * SLOW))
                    yield replace(usual, slow=int(workers * SLOW), speculates=True)


def line(row: Row) -> str:
    """Return a row as text."""
    return (
        f"{row['shape']:9} {row['workers']:>5} workers {row['steps']:>7} steps {row['lost']:>4} lost, "
        f"{row['slow']} slow{', speculates' if row['speculates'] else ''}{'' if row['expects'] else ', unaware'}, "
        f"{row['gigabits']} Gbit/s: "
        f"{row['ratio']}x of {row['bound']} s"
    )


def exceeds(row: Row) -> bool:
    """Whether a build took more than it may."""
    return float(str(row["ratio"])) > AT_MOST


def main(arguments: Sequence[str]) -> int:
    """Run all; 1 if a build without losses takes more than AT_MOST of its bound."""
    quick = "--quick" in arguments
    rows: list[Row] = []
    with ProcessPoolExecutor(2) as pool:
        chosen = list(cases(QUICK_STEPS if quick else max(GRID)))
        for row in pool.map(simulated, chosen):
            sys.stdout.write(f"{line(row)}\n")
            sys.stdout.flush()
            rows.append(row)
    if not quick:
        TARGET.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
        TARGET.with_suffix(".svg").write_text(drawing(rows))
    worse = [line(row) for case, row in zip(chosen, rows, strict=True) if case.is_bounded and exceeds(row)]
    sys.stderr.writelines(f"more than {AT_MOST}x: {text}\n" for text in worse)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
