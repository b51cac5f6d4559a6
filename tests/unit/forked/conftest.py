"""tiffin as it is, in forks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.forkserver import load_all
from tests.conftest import assert_nothing_left
from tests.support.forked import PYTHON_MOUNTS, SLEEP, Begin, Forked, python, python_image, wait_for

load_all()  # once, and not in each fork


@pytest.fixture
def forked(tmp_path: Path) -> Iterator[Forked]:
    """With an image called python in its state directory."""
    commands = Forked(tmp_path / "state", tmp_path)
    python_image(commands.root)
    yield commands
    assert_nothing_left(commands.root)


@pytest.fixture
def begin(forked: Forked) -> Iterator[Begin]:
    """Begin a container, which ends with the test."""

    def run(name: str, *flags: str, script: str = SLEEP) -> str:
        words = ["run", "-d", "--name", name, "--init", *flags, *PYTHON_MOUNTS, "python", *python(script)]
        identity = forked(*words).stdout.strip()
        wait_for(lambda: "up" in forked("logs", name).stdout)
        return identity

    yield run
    identities = forked("ps", "-aq").stdout.split()
    if identities:
        forked("rm", "-f", "-v", *identities)
