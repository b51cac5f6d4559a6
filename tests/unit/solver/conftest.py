"""A kitchen of fakes, or a bench of real stores, for each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.bench_of_builds import Bench
from tests.support.plans import FakeBuild


@pytest.fixture
def fake_build(tmp_path: Path) -> FakeBuild:
    return FakeBuild.at(tmp_path)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with closing(Bench(place=tmp_path)) as bench:
        yield bench
        assert [path.name for path in bench.state.tmp.iterdir() if not path.name.startswith("discarded-")] == []
