"""Builds for the simulated farm: graphs of steps with seconds, layers and bases, made from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tiffin.builder.farm.critical_path import ranks

MB = 10**6
BASES = {"base-small": 30 * MB, "base-debian": 80 * MB, "base-ml": 400 * MB}
MEDIAN_SECONDS, SPREAD = 10.0, 0.8  # of a step: log-normal, so a twentieth takes more than 37 s
MEDIAN_BYTES, SPREAD_OF_BYTES = 10 * MB, 1.5  # of a layer: a twentieth has more than 118 MB
CHAIN = 5  # steps of a stage
PLATFORM = "linux/amd64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One step: what it takes, the bytes of its layer, the steps whose layers it needs, and the base below them."""

    name: str
    seconds: float
    size: int
    needs: tuple[str, ...] = ()
    base: str = "base-debian"


Graph = Mapping[str, Node]


class _Maker:
    """Makes nodes from one sequence of random numbers. A stage's step needs all layers of the stage below it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.nodes: dict[str, Node] = {}

    def stage(self, name: str, steps: int, base: str, sources: tuple[str, ...] = ()) -> str:
        """Make a stage; its first step copies from the last layers of `sources`. Returns its last step."""
        below: tuple[str, ...] = ()
        for number in range(steps):
            node = Node(
                name=f"{name}.{number}",
                seconds=self.chance.lognormvariate(0, SPREAD) * MEDIAN_SECONDS,
                size=int(self.chance.lognormvariate(0, SPREAD_OF_BYTES) * MEDIAN_BYTES),
                needs=below + (sources if number == 0 else ()),
                base=base,
            )
            self.nodes[node.name] = node
            below = (*below, node.name)
        return below[-1]


def monorepo(steps: int, seed: int = 1) -> Graph:
    """Images on three bases, a fifth of which copy from one of ten shared stages."""
    maker, bases = _Maker(seed), list(BASES)
    shared = [maker.stage(f"shared{n}", CHAIN, bases[n % 3]) for n in range(10)]
    for number in range(max(1, steps // CHAIN - len(shared))):
        sources = (maker.chance.choice(shared),) if number % 5 == 0 else ()
        maker.stage(f"image{number}", CHAIN, bases[number % 3], sources)
    return maker.nodes


def fan(steps: int, seed: int = 2) -> Graph:
    """One stage, on whose result all others are built, and one that copies from eight of every hundred of them."""
    maker = _Maker(seed)
    first = maker.stage("first", 2, "base-debian")
    middle = [maker.stage(f"part{n}", 2, "base-debian", (first,)) for n in range(max(1, (steps - 4) // 2))]
    maker.stage("last", 2, "base-small", tuple(middle[:: max(1, len(middle) // 8)]))
    return maker.nodes


def layered(steps: int, seed: int = 3) -> Graph:
    """Ten ranks of stages, each of which copies from two stages of the rank before."""
    maker, before = _Maker(seed), list[str]()
    width = max(1, steps // 20)
    for rank in range(10):
        row = []
        for number in range(width):
            sources = tuple(maker.chance.sample(before, min(2, len(before))))
            row.append(maker.stage(f"rank{rank}-{number}", 2, "base-debian", sources))
        before = row
    return maker.nodes


SHAPES: Mapping[str, Callable[[int], Graph]] = {"monorepo": monorepo, "fan": fan, "layered": layered}


def bound(graph: Graph, slots: float) -> float:
    """Return the seconds below which nothing can be: the critical path, or all work over all slots; no transfers."""
    longest = max(ranks(_seconds(graph), _needs(graph)).values())
    return max(longest, sum(node.seconds for node in graph.values()) / slots)


def expected(graph: Graph, error: float, seed: int = 7) -> tuple[dict[str, float], dict[str, float]]:
    """Return what a driver expects of each step, wrong by a factor of about 1 + `error`, and the ranks by that."""
    chance = random.Random(seed)
    seconds = {name: node.seconds * chance.lognormvariate(0, error) for name, node in graph.items()}
    return seconds, ranks(seconds, _needs(graph))


def _seconds(graph: Graph) -> dict[str, float]:
    return {name: node.seconds for name, node in graph.items()}


def _needs(graph: Graph) -> dict[str, tuple[str, ...]]:
    return {name: node.needs for name, node in graph.items()}
