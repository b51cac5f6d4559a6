"""The bounds of coverage: each folder is counted by itself, and none is forgotten."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tests.support.bounds import BOUNDS, faults, main, shares


def report(**files: tuple[int, int]) -> dict[str, object]:
    return {
        "files": {
            f"{name.replace('__', '/')}.py": {"summary": {"covered_lines": covered, "num_statements": lines}}
            for name, (covered, lines) in files.items()
        }
    }


def test_files_of_a_folder_count_together_and_folders_below_it_do_not() -> None:
    found = shares(report(a__one=(1, 2), a__two=(9, 10), a__b__three=(0, 4), tiffin__c__four=(1, 1), d__empty=(0, 0)))
    assert found == {"a": pytest.approx(100 * 10 / 12), "a/b": 0, "c": 100}


def test_a_folder_below_its_bound_is_told() -> None:
    assert faults({"a": 84.9, "b": 85.0},
        {"a": 85, "b": 85}) == ["a: 84.9 % of its lines are covered, and 85 % have to be"]  # fmt: skip


def test_a_folder_without_a_bound_and_a_bound_without_a_folder_are_told() -> None:
    assert len(faults({"new": 100.0}, {})) == 1 and len(faults({}, {"old": 1})) == 1


def test_the_code_of_the_program_is_its_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = dict.fromkeys(tomllib.loads(BOUNDS.read_text())["percent"], (1, 1))
    document = report(**{f"{folder.replace('/', '__')}__x": counts for folder, counts in whole.items()})
    path = tmp_path / "report.json"
    path.write_text(json.dumps(document))
    assert main(str(path)) == 0
    path.write_text(json.dumps(report(cache__x=(0, 1))))
    assert main(str(path)) == 1 and "error: cache:" in capsys.readouterr().err
