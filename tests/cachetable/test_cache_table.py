"""Must hit, must miss: each case is asked of every kind of cache, and built for real with one of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cachetable import adding, copying, running, stages
from tests.cachetable.lab import KINDS, Lab, open_lab
from tests.cachetable.scene import Case, World, steps
from tests.conftest import assert_nothing_left
from tests.support.servers import Registry
from tests.support.unprivileged import remove_folder

pytestmark = [pytest.mark.userns, pytest.mark.network]
TABLE: list[tuple[World, Case]] = [
    *((copying.WORLD, case) for case in copying.CASES),
    *((running.WORLD, case) for case in running.CASES),
    *((stages.WORLD, case) for case in (*stages.STAGES, *stages.CUT_OFF, *stages.CONTEXTS)),
    *((stages.LINKED, case) for case in stages.LINKS),
    *((adding.WORLD, case) for case in adding.CASES),
]


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, registry: Registry, busybox: Path) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("table")
    with open_lab(folder, registry, busybox) as made:
        yield made
        for state in folder.glob("asks-*"):
            assert_nothing_left(state)
    remove_folder(folder)


@pytest.mark.parametrize("number", range(len(TABLE)), ids=[f"{world.name}: {case.name}" for world, case in TABLE])
def test_case(lab: Lab, number: int) -> None:
    world, case = TABLE[number]
    lab.web.clear()
    lab.web.update(adding.WEB)
    lab.fill(world)
    scene = lab.scene(world, f"case-{number}")
    case.change(scene)
    foreseen = steps(world, case.runs if case.foreseen is None else case.foreseen)
    assert {kind: lab.ask(kind, scene) for kind in ("local", *KINDS)} == dict.fromkeys(("local", *KINDS), foreseen)
    root = lab.folder / f"state-{number}"
    assert lab.build(KINDS[number % len(KINDS)], scene, root) == steps(world, case.runs)
    assert_nothing_left(root)
    remove_folder(root)


def test_the_table_is_large() -> None:
    names = {(world.name, case.name) for world, case in TABLE}
    assert len(names) == len(TABLE) >= 200
