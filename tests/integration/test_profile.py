"""--profile writes what trace viewers read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run


@pytest.mark.userns
def test_profile(tiffin: Run, base: str, context: Callable[..., Path], tmp_path: Path) -> None:
    folder = context(f"FROM {base}\nRUN sleep 0.2\nRUN exit 3\n")
    assert tiffin("build", "--profile", tmp_path / "trace", folder, check=False).returncode == 1
    trace = json.loads((tmp_path / "trace").read_text())
    assert 10 << 20 < trace["otherData"]["peak_bytes"] < 200 << 20
    events = {event["name"]: event for event in trace["traceEvents"]}
    assert {"plan", "keys and cache", "execute", "[2/3] RUN sleep 0.2", "[3/3] RUN exit 3", "command"} <= set(events)
    step, execute = events["[2/3] RUN sleep 0.2"], events["execute"]
    assert all(event["ph"] == "X" and event["ts"] >= 0 for event in events.values())
    assert step["dur"] >= 200_000
    assert execute["ts"] <= step["ts"] and step["ts"] + step["dur"] <= execute["ts"] + execute["dur"] + 1
