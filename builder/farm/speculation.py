"""Which steps take so long that another worker is to try them, too: pure, on what the driver saw. Nothing is started.

How long steps take is not known before, so it is learnt: what finished steps took, beside what was expected of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median

from tiffin.builder.farm.fleet import Step
from tiffin.builder.farm.placement import Placement

LATE = 1.5  # times what such a step takes in the median
LEAST_SECONDS = 10.0  # of a step that is worth a second try
MOST_AT_ONCE = 3  # workers that make one step
LEAST_SEEN = 3  # finished steps, before which nothing is known
REMEMBERED = 100  # of the last finished steps


class Speculation:
    """The steps that are made, and who tried last."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[Step, float]] = {}
        self._ratios: deque[float] = deque(maxlen=REMEMBERED)

    def began(self, step: Step, workers: Sequence[str], now: float) -> None:
        """Note that the last of some workers began a step, which the others are at."""
        if len(workers) < MOST_AT_ONCE:
            self._running[step.name] = (replace(step, avoid=step.avoid.union(workers)), now)

    def ended(self, name: str, now: float, *, made: bool) -> None:
        """Note that a step is to be tried by no more workers; `made`: it took as long as such a step takes."""
        found = self._running.pop(name, None)
        if found is not None and made and found[0].seconds > 0:
            self._ratios.append((now - found[1]) / found[0].seconds)

    def late(self, now: float, placement: Placement) -> Iterator[Step]:
        """Yield the steps to try at another worker, the most urgent first, while one is idle and nothing else waits.
        Who takes one hands it in with `add_step`, and notes its end here.
        """
        if len(self._ratios) < LEAST_SEEN:
            return
        usual = median(self._ratios)
        for step, began in sorted(self._running.values(), key=lambda running: -running[0].rank):
            if now - began > max(LEAST_SECONDS, LATE * usual * step.seconds) and placement.is_idle_for(step):
                yield step
