"""Containers that are not named: podman's --all, --latest, --filter and --cidfile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.bench_of_builds import MOUNTS
from tests.support.commands import Commands

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def two(supervised_here: Commands, tmp_path: Path) -> Commands:
    """Containers called one and two, in that order; the file cid has the id of one."""
    tiffin = supervised_here
    tiffin.isolation = MOUNTS
    tiffin("create", "--name", "one", "--label", "tier=a", "--cidfile", tmp_path / "cid", "base", "say", "x")
    tiffin("create", "--name", "two", "base", "say", "x")
    return tiffin


def names(tiffin: Commands) -> list[str]:
    return sorted(tiffin("ps", "-a", "--format", "{{.Names}}").out.split())


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["--all"], []),
        (["-f", "-a"], []),
        (["-l"], ["one"]),
        (["--filter", "label=tier=a"], ["two"]),
        (["--filter", "status=running"], ["one", "two"]),
        (["--cidfile", "CID"], ["two"]),
        (["--cidfile", "CID", "two"], []),
        (["--ignore", "--cidfile", "none", "none", "one"], ["two"]),
        (["-f", "-t", "0", "two"], ["one"]),
    ],
)
def test_those_that_fit_are_removed(two: Commands, tmp_path: Path, words: list[str], left: list[str]) -> None:
    two("rm", *[word.replace("CID", f"{tmp_path}/cid") for word in words])
    assert names(two) == left


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["rm"], "Missing argument 'CONTAINER...'"),
        (["rm", "--all", "one"], "named beside --all"),
        (["rm", "--all", "--cidfile", "x"], "named beside --all"),
        (["rm", "--cidfile", "/none"], "--cidfile /none does not exist"),
        (["rm", "-f", "-t", "x", "one"], '--time "x" is not a whole number'),
        (["rm", "--filter", "status=odd"], "status=odd"),
        (["rm", "--link", "one"], "goes with it"),
        (["restart", "--running", "one"], "named beside"),
        (["start", "--attach", "--all"], "only one container"),
    ],
)
def test_what_cannot_be_meant_is_told(two: Commands, words: list[str], told: str) -> None:
    failed = two(*words, check=False)
    assert failed.code != 0 and told in failed.err
    assert names(two) == ["one", "two"]


def test_what_does_not_run_is_not_stopped_killed_or_paused(two: Commands) -> None:
    for command in ("stop", "kill", "pause", "unpause"):
        assert two(command, "--all").out == ""
    assert two("restart", "--running").out == ""
