"""GitLab's jobs: sections in the log (CI/CD job logs, "collapsible sections")."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from tiffin.builder.cli.output.plain.sections import SectionRenderer
from tiffin.builder.cli.output.plain.step_lines import line_of
from tiffin.builder.events import BuildFinished, WarningMessage

_CLEAR = b"\x1b[0K"  # part of the markers: GitLab shows neither


def gitlab_renderer(stream: BinaryIO, environ: Mapping[str, str]) -> SectionRenderer:
    """Return what writes progress in a job of GitLab."""
    return SectionRenderer(stream, GitLabLog(), colours=not environ.get("NO_COLOR"))


class GitLabLog:
    """The log of a job. A marker needs an escape sequence and a carriage return, and output has neither here."""

    def begin(self, number: int, title: str) -> bytes:
        return _marker("start", number, "[collapsed=true]") + line_of(title)

    def end(self, number: int) -> bytes:
        return _marker("end", number) + b"\n"

    def safe(self, lines: bytes) -> bytes:
        return lines

    def annotate(self, event: WarningMessage) -> bytes:
        return b""

    def finish(self, event: BuildFinished, steps: Sequence[tuple[str, float]]) -> None:
        return None


def _marker(kind: str, number: int, options: str = "") -> bytes:
    """Return a marker; names are unique in a job, which may build several times."""
    name = f"tiffin_{os.getpid()}_{number}"
    return b"%ssection_%s:%d:%s%s\r%s" % (
        _CLEAR,
        kind.encode(),
        time.time(),
        name.encode(),
        options.encode(),
        _CLEAR,
    )
