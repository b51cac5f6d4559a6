"""The audit log: whole, whoever writes at the same time; every change of it is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tiffin.builder.errors import TiffinError
from tiffin.builder.policy.audit import AuditLog, Head, parse_head, read_head, verify


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """One of five lines."""
    path = tmp_path / "audit.jsonl"
    for number in range(5):
        AuditLog(path).append("build", {"number": number})
    return path


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_it_is_whole(log: Path) -> None:
    head, problems = verify(log)
    assert not problems and head.lines == 5 and head == read_head(log) == parse_head(str(head))
    rows = [json.loads(line) for line in lines(log)]
    assert [row["number"] for row in rows] == [0, 1, 2, 3, 4] and rows[0]["previous"] == "0" * 64
    assert verify(log, Head()) == (head, []), "a head of the beginning"


def test_writers_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: AuditLog(path).append("pull", {"number": number}), range(40)))
    head, problems = verify(path)
    assert (head.lines, problems) == (40, [])
    assert sorted(json.loads(line)["number"] for line in lines(path)) == list(range(40))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda rows: [*rows[:2], rows[2].replace(b'"number":2', b'"number":9'), *rows[3:]], ":4: the line before it"),
        (lambda rows: [*rows[:2], *rows[3:]], ":3: the line before it was changed, or removed"),
        (lambda rows: rows[1:], ":1: the line before it"),
        (lambda rows: rows[:4], "5 lines are noted in its head, and 4 are there"),
        (lambda rows: [], "5 lines are noted in its head, and 0 are there"),
        (lambda rows: [*rows[:4], rows[4].replace(b'"number":4', b'"number":5')], ":5: the line is not the one"),
        (lambda rows: [*rows[:4], rows[4][:-1]], ":5: the line has no end"),
        (lambda rows: [*rows[:4], rows[4][:20] + b"\n"], ":5: the line is not a line of an audit log"),
        (lambda rows: [rows[1], rows[0], *rows[2:]], ":1: the line before it"),
    ],
)
def test_a_change_is_found_and_nothing_is_added(
    log: Path, change: Callable[[list[bytes]], list[bytes]], problem: str
) -> None:
    log.write_bytes(b"".join(change(lines(log))))
    assert problem in verify(log)[1][0]
    if problem.startswith((":4", ":3", ":1")):
        return  # in the middle: only a look at all of it tells
    with pytest.raises(TiffinError, match="the audit log was changed"):
        AuditLog(log).append("build", {})


def test_a_writer_that_ended_before_it_noted_its_line(log: Path) -> None:
    head = log.with_name("audit.jsonl.head")
    before = head.read_text()
    AuditLog(log).append("build", {"number": 5})
    head.write_text(before)
    assert verify(log)[1] == []
    AuditLog(log).append("build", {"number": 6})
    assert verify(log)[0].lines == 7 and verify(log)[1] == []


def test_a_kept_head(log: Path) -> None:
    kept = read_head(log)
    AuditLog(log).append("build", {})
    assert verify(log, kept)[1] == []
    log.unlink()
    log.with_name("audit.jsonl.head").unlink()
    AuditLog(log).append("build", {})
    assert verify(log)[1] == [] and "in the head that was kept" in verify(log, kept)[1][0]
    assert "No such file" in verify(log.with_name("none"))[1][0]
    with pytest.raises(TiffinError, match="is not the head"):
        parse_head("x")
