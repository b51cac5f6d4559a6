"""What every renderer is."""

from __future__ import annotations

from contextlib import AbstractContextManager

from tiffin.builder.cli.options.common import PROGRESS_ALIASES
from tiffin.builder.events import Sink

GITHUB, GITLAB = "GITHUB_ACTIONS", "GITLAB_CI"  # variables that are "true" in their jobs


class Renderer(Sink, AbstractContextManager["Renderer"]):
    """A sink that may hold a terminal; used in `with`."""

    def __exit__(self, *_: object) -> None:
        return None


def quiet_if(quiet: bool, progress: str) -> str:
    """Return what make_renderer takes: -q wins over --progress."""
    return "quiet" if quiet else PROGRESS_ALIASES.get(progress, progress)
