"""Layers as root, as an unprivileged user with a range of ids, and with a single one, over real overlay mounts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.userns
REPOSITORY = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("layer_round_trip.py")
USER = "tiffin-layer-test"


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(argv, capture_output=True, text=True, env=environment, cwd="/", timeout=120)


@pytest.fixture(scope="module")
def as_user() -> Iterator[list[str]]:
    """What to put before a command so that an unprivileged user runs it."""
    if os.geteuid() != 0:
        yield []
        return
    if run("useradd", "-m", USER).returncode not in (0, 9):
        pytest.skip("useradd does not work here")
    try:
        prefix = ["runuser", "-u", USER, "--"]
        if run(*prefix, sys.executable, "-c", "import builder.layer.diff").returncode:
            pytest.skip("an unprivileged user may not read this checkout or this python")
        yield prefix
    finally:
        run("userdel", "-r", USER)


def round_trip(prefix: list[str], ids: str) -> None:
    done = run(*prefix, sys.executable, str(SCRIPT), ids)
    assert done.stdout.strip() == "ok", done.stderr[-3000:]


def test_layers_of_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    round_trip(["unshare", "--mount"], "many")


def test_layers_with_a_range_of_ids(as_user: list[str]) -> None:
    prefix = [*as_user, "unshare", "--user", "--mount", "--map-root-user", "--map-auto"]
    if run(*prefix, "true").returncode:
        pytest.skip("no range of ids: newuidmap or /etc/subuid is missing, or user namespaces are refused")
    round_trip(prefix, "many")


def test_layers_with_a_single_id(as_user: list[str]) -> None:
    prefix = [*as_user, "unshare", "--user", "--mount", "--map-root-user"]
    if run(*prefix, "true").returncode:
        pytest.skip("user namespaces are refused")
    round_trip(prefix, "one")
