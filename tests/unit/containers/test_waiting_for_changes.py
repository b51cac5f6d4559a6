"""Waiting for files and processes ends with the change, not with the time."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from tiffin.builder.containers.lifecycle.changes import CREATED, Changes
from tiffin.builder.containers.state import new_state

LATE_SECONDS = 5.0


def seconds_of(changes: Changes) -> float:
    begun = time.monotonic()
    changes.wait(LATE_SECONDS)
    return time.monotonic() - begun


def test_a_file_that_grows_in_a_folder_added_later(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with Changes(tmp_path, CREATED) as changes:
        folder.mkdir()
        assert seconds_of(changes) < LATE_SECONDS
        changes.add(folder)
        (folder / "log").write_text("x")
        assert seconds_of(changes) < LATE_SECONDS


def test_the_end_of_a_holder_wakes_once(tmp_path: Path) -> None:
    holder = subprocess.Popen(["sleep", "1000"])
    state = new_state(name="", remove=False, pid=holder.pid, image="i", image_id="i", command=("sleep",), layers=())
    with Changes(tmp_path) as changes:
        changes.add_holder(state)
        holder.kill()
        assert seconds_of(changes) < LATE_SECONDS
        holder.wait()
        begun = time.monotonic()
        changes.wait(0.02)
        assert time.monotonic() - begun >= 0.02


def test_a_later_process_of_that_number_is_not_watched(tmp_path: Path) -> None:
    state = new_state(name="", remove=False, pid=os.getpid(), image="i", image_id="i", command=("sh",), layers=())
    before = len(os.listdir("/proc/self/fd"))
    with Changes(tmp_path) as changes:
        changes.add_holder(type(state).decode(state.encode().replace(state.pid_started.encode(), b"another time")))
        assert len(os.listdir("/proc/self/fd")) == before + 1
