"""RUN that is tried again, and RUN that takes too long."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.bench_of_builds import COPIES, OVERLAYS
from tests.support.commands import Commands
from tests.support.contexts import context_at
from tiffin.builder.execute import run_step
from tiffin.builder.sandbox.isolation import Isolation


@pytest.fixture
def tiffin(tiffin_here: Commands, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.setattr(run_step, "MAX_PAUSE_SECONDS", 0)
    tiffin_here.isolation = OVERLAYS
    return tiffin_here


@pytest.mark.parametrize("isolation", [OVERLAYS, COPIES], ids=["overlays", "copies"])
def test_a_command_that_fails_runs_again_over_the_same_layers(
    tiffin: Commands, tmp_path: Path, isolation: Isolation
) -> None:
    tiffin.isolation = isolation
    # mkdir would fail with another code over what the try before left
    folder = context_at(tmp_path)("FROM base\nRUN <<E\nmkdir /made\nexit 3\nE\n")
    failed = tiffin("build", "--progress", "plain", "--retry-run", "2", folder, check=False)
    assert failed.err.count("exit code: 3; it runs again") == 2 and "(2 of 2)" in failed.err
    assert failed.code == 1 and len(tiffin.launcher.specs) == 3


def test_comments_count_more_than_options_and_no_step_has_another_key(tiffin: Commands, tmp_path: Path) -> None:
    make = context_at(tmp_path)
    text = "FROM base\n# tiffin: retry=0 timeout=50ms\nRUN sleep\n"
    late = tiffin("build", "--retry-run", "5", "--run-timeout", "1h", make(text), check=False)
    assert 'process "/bin/sh -c sleep" did not complete within 50ms' in late.err and len(tiffin.launcher.specs) == 1
    tiffin("build", make("FROM base\nRUN say a\n"))
    again = tiffin("build", "--progress", "plain", make("FROM base\n# tiffin: retry=3\nRUN say a\n"))
    assert "CACHED" in again.err


def test_a_limit_holds_for_all_that_run(tiffin: Commands, tmp_path: Path) -> None:
    late = tiffin("build", "--run-timeout", "100ms", context_at(tmp_path)("FROM base\nRUN sleep\n"), check=False)
    assert "did not complete within 100ms" in late.err


@pytest.mark.parametrize("word", ["retry=x", "retry=1000", "timeout=5", "wait=1", "retry"])
def test_what_is_not_understood_is_told(tiffin: Commands, tmp_path: Path, word: str) -> None:
    folder = context_at(tmp_path)(f"FROM base\n# about\n# tiffin: {word}\nRUN say a\n")
    done = tiffin("build", folder, check=False)
    assert done.code == 1 and "Dockerfile:4: # tiffin: " in done.err and "retry=3 timeout=5m" in done.err
