"""Commands in this process, on a state directory with one small image."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.minimal_image import write_image

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
