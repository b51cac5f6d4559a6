"""Layers as root, as an unprivileged user with a range of ids, and with a single one, over real overlay mounts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.support.unprivileged import WITH_IDS, WITHOUT_IDS, Users, interpreter

pytestmark = pytest.mark.userns
SCRIPT = Path(__file__).with_name("layer_round_trip.py")
Program = Callable[[Sequence[str], str], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def program(users: Users) -> Program:
    """Runs the script, with the words that go before the interpreter and the ids it may use, as an unprivileged
    user.
    """
    script = str(shutil.copy(SCRIPT, users.code))
    os.chmod(script, 0o644)
    return lambda prefix, ids: users.program(
        WITH_IDS if ids == "many" else WITHOUT_IDS, [*prefix, interpreter(), script, ids]
    )


def _run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def check(done: subprocess.CompletedProcess[str]) -> None:
    assert done.stdout.strip() == "ok", done.stderr[-3000:]


def test_layers_of_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has the ids of layers itself")
    check(_run(["unshare", "--mount", sys.executable, str(SCRIPT), "many"]))


@pytest.mark.parametrize(("ids", "maps"), [("many", ["--map-auto"]), ("one", [])], ids=["range", "single"])
def test_layers_of_users(program: Program, ids: str, maps: list[str]) -> None:
    check(program(["unshare", "--user", "--mount", "--map-root-user", *maps], ids))
