"""Bounds of the state directory: kept to after a build, never during one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.contexts import context_at
from tiffin.builder.api.session import Session
from tiffin.builder.api.storage import bounds
from tiffin.builder.api.storage.prune import size_on_disk
from tiffin.builder.api.storage.state_size import state_size

TEXT = "FROM base\nCOPY a /a\n"
MB = 1 << 20


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIFFIN_CONFIG", str(tmp_path / "config.toml"))
    return tmp_path / "config.toml"


@pytest.mark.thorough
def test_the_oldest_steps_go_until_the_bound_is_kept(tiffin_here: Commands, tmp_path: Path, config: Path) -> None:
    config.write_text('[storage]\nmax-size = "3500k"\n')  # one noise and half of the next
    make = context_at(tmp_path)
    for number in range(4):
        done = tiffin_here("build", "-o", "type=cacheonly", make(TEXT, a=_noise(number)))
        tiffin_here("build", "-q", "-t", "kept", make(TEXT, a="small"))
    assert "removed " in done.err and size_on_disk(tiffin_here.root) <= 3500 << 10
    assert tiffin_here("images", "-q", "kept").out and tiffin_here("images", "-q", "base").out
    again = tiffin_here("build", "--progress", "plain", make(TEXT, a="small"))
    assert "CACHED" in again.err, "what is newest is kept"


def _noise(number: int) -> bytes:
    import random

    return random.Random(number).randbytes(2 * MB)


def test_nothing_is_removed_while_another_build_runs(tiffin_here: Commands, tmp_path: Path, config: Path) -> None:
    config.write_text('[storage]\nmax-size = "1k"\nkeep = "1h"\n')
    folder = context_at(tmp_path)(TEXT, a="A")
    with Session(tiffin_here.root).state.lock("building", shared=True):
        tiffin_here("build", folder)
    assert tiffin_here("cache", "ls", "-q").out
    done = tiffin_here("build", folder)
    assert "images and containers need the rest" in done.err and not tiffin_here("cache", "ls", "-q").out


def test_the_age_of_a_step_is_when_it_was_made(tiffin_here: Commands, tmp_path: Path, config: Path) -> None:
    """`--timestamp` says what time stands in the image; a bound by age means another."""
    config.write_text('[storage]\nkeep = "1h"\n')
    folder = context_at(tmp_path)(TEXT, a="A")
    for _ in range(2):
        done = tiffin_here("build", "--progress", "plain", "--timestamp", "1", folder)
    assert "CACHED" in done.err
    tiffin_here("cache", "prune", "-f", "--older-than", "1h")
    assert tiffin_here("cache", "ls", "-q").out
    tiffin_here("cache", "prune", "-f", "--older-than", "0s")
    assert not tiffin_here("cache", "ls", "-q").out


def test_the_size_is_that_of_all_files_and_layers_are_measured_once(
    tiffin_here: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiffin_here("build", "-q", context_at(tmp_path)(TEXT, a="A" * 5000))
    session = Session(tiffin_here.root)
    tree = session.state.layers / f"sha256-{'0' * 64}" / "fs.2.x"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep/file").write_bytes(b"x" * 100_000)
    os.link(tree / "deep/file", tree / "other")
    state_size(session)  # the table grows by what is remembered
    assert state_size(session) == size_on_disk(session.state.root)
    measured: list[str] = []

    def measure(path: Path) -> int:
        measured.append(path.name)
        return size_on_disk(path)

    monkeypatch.setattr("tiffin.builder.api.storage.state_size.size_on_disk", measure)
    state_size(session)
    assert "fs.2.x" not in measured
    tree.rename(tree.with_name("aside"))
    shutil.copytree(tree.with_name("aside"), tree)
    shutil.rmtree(tree.with_name("aside"))
    state_size(session)
    assert state_size(session) == size_on_disk(session.state.root) and "fs.2.x" in measured
    session.table.set("sizes", b'{"a": [1, "x"], "b": 1')
    state_size(session)
    assert state_size(session) == size_on_disk(session.state.root)
    session.table.close()


def test_a_layer_may_go_while_the_size_is_taken(tiffin_here: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    tiffin_here("images")
    session = Session(tiffin_here.root)
    folders = [session.state.layers / f"sha256-{digit * 64}" for digit in "0123456789"]
    for folder in folders:
        (folder / "fs.2.x/deep").mkdir(parents=True)
    (session.state.layers / "stray").write_text("no layer")

    def measure(path: Path) -> int:
        for folder in folders:
            if folder != path.parent:
                shutil.rmtree(folder, ignore_errors=True)
        return size_on_disk(path)

    monkeypatch.setattr("tiffin.builder.api.storage.state_size.size_on_disk", measure)
    assert state_size(session) > 0
    session.table.close()


def test_a_build_that_added_nothing_measures_nothing(
    tiffin_here: Commands, tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text('[storage]\nmax-size = "1g"\nkeep = "30d"\n')
    make, measured = context_at(tmp_path), 0

    def measure(session: Session) -> int:
        nonlocal measured
        measured += 1
        return state_size(session)

    monkeypatch.setattr(bounds, "state_size", measure)
    for content, wanted in (("A", 1), ("A", 1), ("B", 2)):
        tiffin_here("build", "-q", make(TEXT, a=content))
        assert measured == wanted
    config.write_text('[storage]\nmax-size = "1k"\n')
    tiffin_here("build", "-q", make(TEXT, a="B"))
    assert measured > 2 and not tiffin_here("cache", "ls", "-q").out


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('[storage]\nmax-size = "big"\n', "max-size big is not a valid size"),
        ('[storage]\nkeep = "long"\n', "storage.keep long"),
        ("[storage]\nmax-size = 3\n", "storage.max-size is not understood"),
        ('[storage]\nother = "x"\n', "storage.other is not understood"),
        ("storage = 1\n", "storage is not a table"),
    ],
)
def test_what_is_wrong_in_the_file_is_told(
    tiffin_here: Commands, tmp_path: Path, config: Path, text: str, wanted: str
) -> None:
    config.write_text(text)
    done = tiffin_here("build", context_at(tmp_path)(TEXT, a="A"))
    assert f"{wanted}" in done.err and done.out.startswith("sha256:")
