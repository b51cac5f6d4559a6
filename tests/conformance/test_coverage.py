"""coverage.toml is true: each row of the language has cases or tests of the names it tells, and each area is in it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase

from tests.conformance.case import HERE, areas, load

COVERAGE: Mapping[str, Mapping[str, list[str]]] = tomllib.loads((HERE / "coverage.toml").read_text())
PATTERNS = [pattern for rows in COVERAGE.values() for patterns in rows.values() for pattern in patterns]


def names() -> set[str]:
    """The ids of all cases, and the names of all test functions."""
    texts = [path.read_text() for path in HERE.parent.rglob("test_*.py")]
    functions = {name for text in texts for name in re.findall(r"^ *def (test_\w+)\(", text, re.MULTILINE)}
    return functions | {case.id for area in areas() for case in load(area)}


def test_every_row_has_its_cases() -> None:
    known = names()
    missing = {
        f"{section}: {row}: {pattern}"
        for section, rows in COVERAGE.items()
        for row, patterns in rows.items()
        for pattern in patterns
        if not any(fnmatchcase(name, pattern) for name in known)
    }
    assert not missing
    assert all(patterns for rows in COVERAGE.values() for patterns in rows.values())


def test_every_case_stands_for_a_row() -> None:
    cases = [case.id for area in areas() for case in load(area)]
    assert [name for name in cases if not any(fnmatchcase(name, pattern) for pattern in PATTERNS)] == []
