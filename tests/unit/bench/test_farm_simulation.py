"""The simulated farm: its bound, its transfers, its losses; and its picture is that of its figures."""

from __future__ import annotations

import json

import pytest

from tests.bench.farm_drawing import SOURCE, drawing
from tests.bench.farm_graphs import MB, SHAPES, Node, bound
from tests.bench.farm_model import GIGABIT, Simulation, Site
from tests.bench.farm_simulation import AT_MOST, USUAL

QUICK = Site(workers=2, slots=1, driver_seconds=0, latency=0, error=0)


def nodes(*made: Node) -> dict[str, Node]:
    return {node.name: node for node in made}


def test_the_bound_is_the_critical_path_or_all_work() -> None:
    graph = nodes(
        Node(name="a", seconds=3, size=0),
        Node(name="b", seconds=4, size=0, needs=("a",)),
        Node(name="c", seconds=5, size=0),
    )
    assert bound(graph, 1) == 12
    assert bound(graph, 100) == 7


def test_transfers_take_the_time_of_their_bytes() -> None:
    """The base comes once to each worker; a layer that is made here is not fetched."""
    size = int(GIGABIT)  # a second
    graph = nodes(
        Node(name="a", seconds=10, size=size, base="base-small"),
        Node(name="b", seconds=10, size=size, base="base-small", needs=("a",)),
    )
    outcome = Simulation(graph, QUICK).build()
    assert outcome.makespan == pytest.approx(20 + 30 * MB / GIGABIT)
    assert (outcome.downloaded, outcome.uploaded) == (30 * MB, 2 * size)


@pytest.mark.parametrize("shape", SHAPES)
def test_builds_come_near_the_bound(shape: str) -> None:
    graph, site = SHAPES[shape](300), Site(workers=20)
    outcome = Simulation(graph, site).build()
    assert outcome.steps_run == len(graph)
    assert outcome.makespan <= 1.3 * bound(graph, 40)


@pytest.mark.thorough
def test_work_is_spread_evenly() -> None:
    assert Simulation(SHAPES["monorepo"](2000), Site(workers=10)).build().busiest < 1.25


@pytest.mark.thorough
@pytest.mark.parametrize("shape", SHAPES)
def test_lost_workers_cost_time_and_no_step(shape: str) -> None:
    """What only they had is made again; the same seed gives the same build."""
    graph, site = SHAPES[shape](300), Site(workers=10, lost=8)
    outcomes = [Simulation(graph, site).build() for _ in range(2)]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0].steps_run >= len(graph)
    assert outcomes[0].makespan > Simulation(graph, Site(workers=10)).build().makespan


def test_the_picture_is_that_of_the_last_run() -> None:
    rows = json.loads(SOURCE.read_text())
    assert SOURCE.with_suffix(".svg").read_text() == drawing(rows), "run python -m tests.bench.farm_drawing"
    assert {(row["workers"], row["steps"]) for row in rows} >= {(10, 100), (1000, 100_000)}
    usual = [row for row in rows if row["gigabits"] == USUAL and not row["lost"] and not row["slow"]]
    assert max(row["ratio"] for row in usual) <= AT_MOST


def test_a_second_try_saves_a_build_from_slow_workers() -> None:
    graph = SHAPES["layered"](300)
    alone, twice = (
        Simulation(graph, Site(workers=20, slow=2, speculates=speculates)).build() for speculates in (False, True)
    )
    assert twice.steps_run == len(graph) and twice.makespan < 0.9 * alone.makespan
