"""Must hit, must miss: each case is asked of every kind of cache, and built for real with one of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cachetable import adding, copying, running, stages
from tests.cachetable.harness import KINDS, Harness, open_harness
from tests.cachetable.workspace import Case, Scenario, steps
from tests.conftest import assert_nothing_left
from tests.support.servers import Registry
from tests.support.unprivileged import remove_folder

pytestmark = [pytest.mark.userns, pytest.mark.network]
TABLE: list[tuple[Scenario, Case]] = [
    *((copying.SCENARIO, case) for case in copying.CASES),
    *((running.SCENARIO, case) for case in running.CASES),
    *((stages.SCENARIO, case) for case in (*stages.STAGES, *stages.CUT_OFF, *stages.CONTEXTS)),
    *((stages.LINKED, case) for case in stages.LINKS),
    *((adding.SCENARIO, case) for case in adding.CASES),
]


@pytest.fixture(scope="session")
def harness(tmp_path_factory: pytest.TempPathFactory, registry: Registry, busybox: Path) -> Iterator[Harness]:
    folder = tmp_path_factory.mktemp("table")
    with open_harness(folder, registry, busybox) as made:
        yield made
        for state in folder.glob("asks-*"):
            assert_nothing_left(state)
    remove_folder(folder)


@pytest.mark.parametrize("number", range(len(TABLE)), ids=[f"{scenario.name}: {case.name}" for scenario, case in TABLE])
def test_case(harness: Harness, number: int) -> None:
    scenario, case = TABLE[number]
    harness.web.clear()
    harness.web.update(adding.WEB)
    harness.fill(scenario)
    workspace = harness.workspace(scenario, f"case-{number}")
    case.change(workspace)
    forecast = steps(scenario, case.runs if case.forecast is None else case.forecast)
    assert {kind: harness.ask(kind, workspace) for kind in ("local", *KINDS)} == dict.fromkeys(
        ("local", *KINDS), forecast
    )
    root = harness.folder / f"state-{number}"
    assert harness.build(KINDS[number % len(KINDS)], workspace, root) == steps(scenario, case.runs)
    assert_nothing_left(root)
    remove_folder(root)


def test_the_table_is_large() -> None:
    names = {(scenario.name, case.name) for scenario, case in TABLE}
    assert len(names) == len(TABLE) >= 200
