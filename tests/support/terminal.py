"""A program at a terminal of its own."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

PATIENCE_SECONDS = 30.0


class Terminal:
    """What a program shows, and how it is typed to. Used in `with`, whose end ends the program."""

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str], folder: Path) -> None:
        self._outer, inner = pty.openpty()
        self._process = subprocess.Popen(
            argv, env=environ, cwd=folder, stdin=inner, stdout=inner, stderr=inner, start_new_session=True
        )
        os.close(inner)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._outer)

    def write(self, text: str) -> None:
        """Type."""
        os.write(self._outer, text.encode())

    def read_to(self, end: str) -> str:
        """Return what is shown from here on, up to `end`, which has to come."""
        shown, deadline = b"", time.monotonic() + PATIENCE_SECONDS
        while not shown.endswith(end.encode()):
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self._outer], [], [], left)[0], f"{shown!r} does not end with {end!r}"
            shown += os.read(self._outer, 1)  # no more than up to the end
        return shown.decode(errors="replace")
