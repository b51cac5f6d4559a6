"""The record of what happened: many writers, a bounded file, readers that follow it, docker's filters."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from tiffin.builder.api.containers.watch.events import is_wanted
from tiffin.builder.containers.lifecycle import events
from tiffin.builder.containers.lifecycle.changes import Changes
from tiffin.builder.containers.lifecycle.events import FILE, RecordedEvent, read_events, record_event
from tiffin.cache.store.statedir import StateDir


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir.open(tmp_path / "state")


def names(state: StateDir, **options: int) -> list[str]:
    return [event.identity for event in read_events(state, follows=False, **{"since_ns": 0, **options})]


def test_what_is_recorded_is_read_in_order_and_bounded_by_time(state: StateDir) -> None:
    for name in "abc":
        record_event(state, "container", "start", name, {"name": name})
    first, second, _ = read_events(state, since_ns=0, follows=False)
    assert names(state) == ["a", "b", "c"]
    assert names(state, since_ns=second.time_ns) == ["b", "c"]
    assert names(state, until_ns=first.time_ns) == ["a"]
    assert list(read_events(state, follows=False)) == []
    document = first.document()
    assert (document["status"], document["id"], document["Type"]) == ("start", "a", "container")
    assert document["Actor"] == {"ID": "a", "Attributes": {"name": "a"}}
    assert "from" not in RecordedEvent(kind="network", action="x", identity="n", attributes={}, time_ns=1).document()


def test_many_processes_write_whole_lines_and_a_full_file_makes_room(
    state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_FILE_BYTES", 40_000)
    children = []
    for writer in range(4):
        child = os.fork()
        if child == 0:
            for number in range(100):
                record_event(state, "container", "start", f"{writer}-{number}", {"text": "x" * 50})
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    found = names(state)
    assert len(found) == len(set(found)) >= 200
    for writer in range(4):
        own = [int(name.split("-")[1]) for name in found if name.startswith(f"{writer}-")]
        assert own == sorted(own)
    assert (state.root / FILE).stat().st_size < 45_000
    assert all(json.loads(line) for line in (state.root / FILE).read_text().splitlines())


def test_whoever_follows_misses_nothing_when_the_file_is_replaced(
    state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_FILE_BYTES", 2000)
    seen: list[str] = []

    def follow() -> None:
        for event in read_events(state, since_ns=0):
            seen.append(event.identity)
            if event.identity == "last":
                return

    thread = threading.Thread(target=follow)
    thread.start()
    for number in range(60):
        record_event(state, "container", "start", str(number))
        deadline = time.monotonic() + 10
        while len(seen) < number - 8 and time.monotonic() < deadline:  # two files behind would be too far
            time.sleep(0.002)
    record_event(state, "container", "die", "last")
    thread.join(10)
    assert seen == [*map(str, range(60)), "last"]


def test_it_ends_when_it_is_late_enough_and_does_not_burn(state: StateDir) -> None:
    began, used = time.monotonic(), time.process_time()
    assert list(read_events(state, until_ns=time.time_ns() + 300_000_000)) == []
    assert 0.25 < time.monotonic() - began < 5
    assert time.process_time() - used < 0.1


def test_a_line_that_was_cut_off_takes_no_other_with_it(state: StateDir) -> None:
    record_event(state, "container", "start", "one")
    with (state.root / FILE).open("ab") as file:
        file.write(b'{"Type": "container", "Act')
    record_event(state, "container", "start", "two")
    with (state.root / FILE).open("ab") as file:
        file.write(b"[1]\n{}\n")
    record_event(state, "container", "start", "three")
    assert names(state) == ["one", "two", "three"]


def test_what_cannot_be_written_stops_nothing(state: StateDir) -> None:
    (state.root / FILE).mkdir()
    record_event(state, "container", "start", "one")


def test_changes_of_a_file_wake_who_waits(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with Changes(path) as changes:
        began = time.monotonic()
        changes.wait(0.05)
        assert time.monotonic() - began >= 0.04
        path.write_text("x")
        changes.wait(10)
        path.unlink()
        changes.wait(10)
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("filters", "is_there"),
    [
        ({}, True),
        ({"type": ["container"]}, True),
        ({"type": ["image", "network"]}, False),
        ({"event": ["start", "die"]}, False),
        ({"event": ["health_status"]}, True),
        ({"event": ["health_status: healthy"]}, True),
        ({"container": ["abc"]}, True),
        ({"container": ["box"]}, True),
        ({"container": ["other"]}, False),
        ({"image": ["app"]}, True),
        ({"image": ["app:1"]}, True),
        ({"image": ["ap"]}, False),
        ({"label": ["a=b", "c"]}, True),
        ({"label": ["a=c"]}, False),
        ({"network": ["x"]}, False),
        ({"scope": ["local"]}, True),
        ({"plugin": ["x"]}, False),
        ({"event": ["health_status"], "label": ["nosuch"]}, False),
    ],
)
def test_filters_are_dockers(filters: dict[str, list[str]], is_there: bool) -> None:
    attributes = {"name": "box", "image": "app:1", "a": "b", "c": ""}
    event = RecordedEvent(
        kind="container", action="health_status: healthy", identity="abcdef", attributes=attributes, time_ns=1
    )
    assert is_wanted(event, filters) == is_there
