"""Commands in this process, on a state directory with one small image."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench_of_builds import MOUNTS
from tests.support.commands import Commands, Done
from tests.support.minimal_image import write_image
from tiffin.builder.api.compose import jobs
from tiffin.builder.api.compose.jobs import Job
from tiffin.builder.api.containers import detached, exec, lifecycle
from tiffin.builder.api.containers.detached import Reporter, Started
from tiffin.builder.api.session import Session
from tiffin.builder.events import Sink

Compose = Callable[..., Done]
SEED = """
  seed:
    image: base
    network_mode: none
    command: say seeded
"""

FILES: dict[str, bytes | str | None] = {
    "etc/passwd": ("root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/srv:/bin/sh\n"), "bin/sh": b"a shell",
    "bin/ash": "-> sh",
    "tmp": None,
}  # fmt: skip


@pytest.fixture
def tiffin_here(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Commands:
    """With an image called base in its state directory."""
    commands = Commands(tmp_path / "state", capfdbinary, monkeypatch)
    commands("images")
    write_image(commands.root, FILES, {"srv/page": "hello\n"}, name="docker.io/library/base:latest")
    return commands


@pytest.fixture
def supervised_here(tiffin_here: Commands, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """With supervisors that are this very process, until the command of the container ends."""
    for module in (lifecycle, exec):
        monkeypatch.setattr(module, "begin_detached", begin_here)
    monkeypatch.setattr(lifecycle, "_supervisors", lambda first: first and first[1])  # the client's end is here, too
    return tiffin_here


def begin_here(supervise: Callable[[Reporter], None], sink: Sink) -> Started:
    """As detached.begin_detached, without a process of its own: it returns when the command has ended."""
    reader, writer = os.pipe()
    reporter = Reporter(writer)
    try:
        supervise(reporter)
    except BaseException as exc:
        reporter.fail(exc)
    with os.fdopen(reader, "rb") as stream:
        return detached.started_of(stream.read(), sink)


class JobsHere:
    """Jobs without processes of their own, each after those that it needs."""

    def __init__(self, jobs: Sequence[Job], session: Session, sink: Sink, at_once: int) -> None:
        self._jobs = list(jobs)
        self._session = session
        self._sink = sink

    def run(self) -> dict[str, Any]:
        results: dict[str, Any] = {}
        while self._jobs:
            job = next(one for one in self._jobs if all(need in results for need in one.needs))
            self._jobs.remove(job)
            results[job.key] = job.do(self._session, self._sink)
        return results


@pytest.fixture
def compose(supervised_here: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Compose:
    """Run compose on a file with these services."""
    supervised_here.isolation = MOUNTS
    monkeypatch.setattr(jobs, "_Jobs", JobsHere)
    folder = tmp_path / "demo"
    folder.mkdir()

    def run(services: str, *words: str, check: bool = True, **more: str) -> Done:
        for name, text in more.items():
            (folder / name).write_text(text)
        (folder / "compose.yaml").write_text(services if services.startswith("name:") else f"services:{services}")
        return supervised_here("compose", "--ansi", "never", "-f", str(folder / "compose.yaml"), *words, check=check)

    return run
