"""Commands in this process, on a state directory with one small image."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.minimal_image import write_image
from tiffin.builder.api.containers import detached, exec, lifecycle
from tiffin.builder.api.containers.detached import Reporter, Started
from tiffin.builder.events import Sink

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
