"""A reader of bake files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.bake.baker import Baker


@pytest.fixture
def baker(tmp_path: Path) -> Baker:
    return Baker(str(tmp_path))
