"""prune --filter: what is younger than until=, or lacks a label, stays, and so do its steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.contexts import context_at

HOUR = 3600


@pytest.fixture
def images(tiffin_here: Commands, tmp_path: Path) -> Commands:
    """Images "old" and "new", by the time in their configurations; "old" has a label."""
    make = context_at(tmp_path)
    folder = make("FROM scratch\nCOPY a /a\n", a="A")
    tiffin_here("build", "-q", "-t", "old:1", "--timestamp", "1000000000", "--label", "team=a", folder)
    tiffin_here("build", "-q", "-t", "new:1", make("FROM scratch\nCOPY a /a\n", a="B"))
    return tiffin_here


def names(tiffin: Commands) -> set[str]:
    return {*tiffin("images", "--format", "{{.Repository}}").out.split()} & {"old", "new"}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("filters", "left"),
    [
        (("until=24h",), {"new"}),
        (("until=2001-01-01",), {"old", "new"}),
        (("until=2002-01-01", "until=24h"), {"new"}),
        (("label=team",), {"new"}),
        (("label=team=b",), {"old", "new"}),
        (("label!=team=a",), {"old"}),
        (("until=24h", "label!=team"), {"old", "new"}),
    ],
)
def test_images_that_are_meant_go(images: Commands, filters: tuple[str, ...], left: set[str]) -> None:
    words = [word for text in filters for word in ("--filter", text)]
    images("image", "prune", "--force", *words)
    assert names(images) == {"old", "new"}, "those with a name stay"
    images("image", "prune", "--all", "--force", *words)
    assert names(images) == left


def test_dangling_false_is_all(images: Commands) -> None:
    images("image", "prune", "-f", "--filter", "dangling=true")
    assert names(images) == {"old", "new"}
    images("image", "prune", "-f", "--filter", "dangling=false", "--filter", "until=24h")
    assert names(images) == {"new"}
    for text, message in (("dangling=maybe", "neither true nor false"), ("until=often", "is not a time"),
                          ("before=x", "is not supported")):  # fmt: skip
        done = images("image", "prune", "-f", "--filter", text, check=False)
        assert done.code and message in done.err
        assert names(images) == {"new"}


def test_system_prune_keeps_what_is_younger(images: Commands, tmp_path: Path) -> None:
    images("tag", "new:1", "old:1")  # what was old:1 has no name now
    images("build", "-q", "-t", "new:1", context_at(tmp_path)("FROM scratch\nCOPY a /a\n", a="C"))
    images("build", "-q", "-t", "old:1", context_at(tmp_path)("FROM scratch\nCOPY a /a\n", a="D"))
    steps = images("cache", "ls", "-q").out.split()
    nameless = {row["ID"] for row in _rows(images) if row["Repository"] == "<none>"}
    assert len(nameless) == 2 and len(steps) == 4
    images("system", "prune", "-af", "--filter", "until=24h")
    assert images("cache", "ls", "-q").out.split() == steps, "steps of this minute are kept"
    assert len({row["ID"] for row in _rows(images)} & nameless) == 1, "so is an image of this minute"
    images("system", "prune", "-af", "--filter", "until=0s")
    assert images("cache", "ls", "-q").out == ""
    assert not {row["ID"] for row in _rows(images)} & nameless and names(images) == {"old", "new"}


def _rows(tiffin: Commands) -> list[dict[str, str]]:
    return [json.loads(line) for line in tiffin("images", "-a", "--format", "json").out.splitlines()]
