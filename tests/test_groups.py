"""What tests share is made once: xdist keeps the tests of a group on one worker, as its name in their ids tells it
to.
"""

from __future__ import annotations

import os

import pytest


@pytest.mark.xdist_group("sample")
def test_groups_reach_the_scheduler(request: pytest.FixtureRequest) -> None:
    is_grouped = request.node.nodeid.endswith("@sample")
    assert is_grouped == ("PYTEST_XDIST_WORKER" in os.environ)
