"""The log of a container: whole lines, rotation, full disks, what readers make of it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.builder.containers.lifecycle.log import (
    FILE,
    MAX_LINE_BYTES,
    STDERR,
    STDOUT,
    LogWriter,
    read_entries,
    time_text,
)


def test_lines_are_those_of_docker(tmp_path: Path) -> None:
    log = LogWriter(tmp_path)
    log.add(STDOUT, b"one\ntw")
    log.add(STDERR, b"problem\n")
    log.add(STDOUT, b"o\nrest")
    log.close()
    rows = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert [(row["stream"], row["log"]) for row in rows] == [
        ("stdout", "one\n"),
        ("stderr", "problem\n"),
        ("stdout", "two\n"),
        ("stdout", "rest"),
    ]
    assert all(row["time"].endswith("Z") and len(row["time"]) == 30 for row in rows)


@pytest.mark.thorough
@given(st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=200)), max_size=20))
def test_what_goes_in_comes_out(tmp_path_factory: pytest.TempPathFactory, chunks: list[tuple[str, bytes]]) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = LogWriter(folder)
    for stream, data in chunks:
        log.add(stream, data)
    log.close()
    entries = list(read_entries(folder))
    for stream in (STDOUT, STDERR):
        written = b"".join(data for name, data in chunks if name == stream)
        assert b"".join(entry.text for entry in entries if entry.stream == stream) == written


def test_a_line_without_end_is_written_in_parts(tmp_path: Path) -> None:
    log = LogWriter(tmp_path)
    log.add(STDOUT, b"x" * (MAX_LINE_BYTES * 2 + 5))
    assert [len(entry.text) for entry in read_entries(tmp_path)] == [MAX_LINE_BYTES] * 2
    log.close()
    assert [len(entry.text) for entry in read_entries(tmp_path)] == [MAX_LINE_BYTES, MAX_LINE_BYTES, 5]


def test_files_are_bounded_and_the_oldest_goes(tmp_path: Path) -> None:
    log = LogWriter(tmp_path, max_bytes=2000, max_files=3)
    for number in range(300):
        log.add(STDOUT, b"line %d\n" % number)
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == [FILE, f"{FILE}.1", f"{FILE}.2"]
    assert all(path.stat().st_size <= 2200 for path in files)
    numbers = [int(entry.text.split()[1]) for entry in read_entries(tmp_path)]
    assert numbers == list(range(numbers[0], 300))


def test_one_file_begins_anew(tmp_path: Path) -> None:
    log = LogWriter(tmp_path, max_bytes=500)
    for number in range(50):
        log.add(STDOUT, b"%d\n" % number)
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert (tmp_path / FILE).stat().st_size < 600


def test_a_full_disk_loses_whole_lines_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = LogWriter(tmp_path)
    log.add(STDOUT, b"before\n")
    real = os.write

    def short(fd: int, data: bytes) -> int:
        return real(fd, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", short)
    log.add(STDOUT, b"one\ntwo\nthree\n")

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    log.add(STDOUT, b"lost\n")
    monkeypatch.setattr(os, "write", real)
    log.add(STDOUT, b"after\n")
    log.close()
    texts = [entry.text for entry in read_entries(tmp_path)]
    assert texts[0] == b"before\n"
    assert texts[-1] == b"after\n"
    assert set(texts) <= {b"before\n", b"one\n", b"two\n", b"after\n"}


def test_damaged_rows_are_left_out(tmp_path: Path) -> None:
    log = LogWriter(tmp_path)
    log.add(STDOUT, b"good\n")
    log.close()
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"log": 5}\n[]\nnull\nrubbish\n{"log":"cut')
    assert [entry.text for entry in read_entries(tmp_path)] == [b"good\n"]


def test_followers_see_what_comes_and_what_was_rotated_away(tmp_path: Path) -> None:
    log = LogWriter(tmp_path, max_bytes=400, max_files=9)
    steps = iter(range(30))

    def is_alive() -> bool:
        number = next(steps, None)
        if number is None:
            return False
        log.add(STDOUT, b"%d\n" % number)
        return True

    seen = [int(entry.text) for entry in read_entries(tmp_path, is_alive=is_alive)]
    assert seen == list(range(30))


def test_none_is_kept_where_none_is_wanted(tmp_path: Path) -> None:
    log = LogWriter(tmp_path, is_kept=False)
    log.add(STDOUT, b"x\n")
    log.close()
    assert list(read_entries(tmp_path)) == []
    assert list(read_entries(tmp_path / "nowhere")) == []


def test_times_sort() -> None:
    moments = [0, 999, 1_000_000_000, 1_764_000_000_123_456_789]
    texts = [time_text(moment) for moment in moments]
    assert texts == sorted(texts)
    assert texts[-1] == "2025-11-24T16:00:00.123456789Z"
