"""Fixtures of the tests that need namespaces and servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.run_machine import Machine, own_machine, users_machine
from tests.unprivileged import Users


@pytest.fixture(scope="module", params=["self", "user"])
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """tiffin and a busybox image `minimal`: as whoever runs the tests, and as an unprivileged user."""
    if request.param == "self":
        with own_machine(tmp_path_factory.mktemp("machine")) as made:
            yield made
    else:
        users: Users = request.getfixturevalue("users")
        with users_machine(users) as made:
            yield made
