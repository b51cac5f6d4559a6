"""Forked workers run every test once and tell what became of each, also of one that ended its worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import os
import pytest

@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    yield os.getpid()
    with open("torn-down", "a") as file:
        file.write("x")

@pytest.mark.xdist_group("ended")
def test_ends_its_worker():
    os._exit(3)

@pytest.mark.xdist_group("ended")
def test_behind_it():
    pass

def order(name):
    with open("order", "a") as file:
        file.write(f"{name} ")

@pytest.mark.slow
def test_slow():
    order("slow")

@pytest.mark.parametrize("number", range(40))
def test_passes(number, shared, capfd, tmp_path):
    order("passes")
    print("of", number)
    assert capfd.readouterr().out == f"of {number}\\n"
    assert shared == os.getpid()
    with open("ran", "a") as file:
        file.write(f"{number} ")

def test_fails():
    print("said before")
    assert "one" == "other"

@pytest.mark.parametrize("number", range(25))
@pytest.mark.xdist_group("those")
def test_together(number):
    with open("together", "a") as file:
        file.write(f"{os.getpid()} ")

@pytest.mark.skip(reason="because")
def test_skipped():
    pass
"""


LAST = """
import os
import pytest

@pytest.mark.xdist_group("those")
def test_together():
    with open("together", "a") as file:
        file.write(f"{os.getpid()} ")
"""


@pytest.mark.thorough
def test_all_run_once_and_what_became_of_them_is_told(tmp_path: Path) -> None:
    """What was in a group with a test that ended its worker is told not to have run."""
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_zeal.py").write_text(LAST)
    plugins = ["-p", "tests.support.workers", "--workers", "2", "-p", "no:cacheprovider"]
    argv = [sys.executable, "-m", "pytest", *plugins, "-rs"]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(argv, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    assert "3 failed, 67 passed, 1 skipped" in done.stdout
    assert "said before" in done.stdout and "because" in done.stdout
    assert "test_ends_its_worker: the worker that ran it ended with 3" in done.stdout
    assert done.stdout.count("test_behind_it: it was not run, as its worker had ended") >= 1
    ran = list(map(int, (tmp_path / "ran").read_text().split()))
    assert sorted(ran) == [*range(40)]
    together = (tmp_path / "together").read_text().split()
    assert len(together) == 26 and len(set(together)) == 1
    assert (tmp_path / "torn-down").read_text() == "x"  # by the worker that is left
    assert (tmp_path / "order").read_text().split() == ["slow", *["passes"] * 40]
