"""The steps of a build that ran, by the events of its log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tiffin.builder.errors import CANCELED as CANCELED_MESSAGE
from tiffin.cache.foundation.frozen import dataclass, replace

COMPLETED, CACHED, ERROR, CANCELED = "Completed", "Cached", "Error", "Canceled"
_NUMBER = re.compile(r"^\[(.*?) ?\d+/\d+\] ")  # "[stage 2/5] " before the text of a step


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRun:
    """A step of a build. `status` is one of the four above; `source`: the cache that had it; `start`: seconds since the
    build began; `needs`: the ids of the steps whose results it uses.
    """

    id: int
    name: str
    status: str
    start: float = 0.0
    seconds: float = 0.0
    source: str = ""
    worker: str = ""
    needs: tuple[int, ...] = ()
    output_bytes: int = 0

    @property
    def key(self) -> str:
        """Return what it does in which stage, without its number, which others before it change."""
        return key_of(self.name)

    @property
    def stage(self) -> str:
        """Return the name of its stage, "" for a lone one."""
        found = _NUMBER.match(self.name)
        return found[1] if found else ""

    @property
    def end(self) -> float:
        """Return when it ended, in seconds since the build began."""
        return self.start + self.seconds

    @property
    def result(self) -> str:
        """Return how it went, in a word or in seconds."""
        return f"{self.seconds:.1f}s" if self.status == COMPLETED else self.status.upper()


def key_of(name: str) -> str:
    """Return what the step of a name does in which stage, without its number, which others before it change."""
    return _NUMBER.sub(lambda match: f"[{match[1]}] ", name)


def steps_of(lines: Iterable[str], began: float = 0.0, finished: float = 0.0) -> list[StepRun]:
    """Return the steps of a log, in the order in which they began; one without an end was canceled when the build
    ended. `began`, `finished`: of the build, in seconds since 1970.
    """
    found: dict[int, StepRun] = {}
    for line in lines:
        event: dict[str, Any] = json.loads(line)
        if "step_id" in event:
            _take(found, event, began)
    return [
        replace(step, seconds=max(0.0, finished - began - step.start))
        if step.status == CANCELED and not step.seconds
        else step
        for step in found.values()
    ]


def _take(found: dict[int, StepRun], event: Mapping[str, Any], began: float) -> None:
    number, kind = event["step_id"], event["type"]
    if kind in ("step_started", "step_cached"):
        found[number] = StepRun(
            id=number,
            name=event["name"],
            status=CANCELED if kind == "step_started" else CACHED,
            start=max(0.0, event["time"] - began),
            source=event.get("source", ""),
            worker=event.get("worker", ""),
            needs=tuple(event.get("needs", ())),
        )
    elif number in found and kind in ("step_finished", "step_failed"):
        is_canceled = event.get("message") == CANCELED_MESSAGE
        status = COMPLETED if kind == "step_finished" else CANCELED if is_canceled else ERROR
        found[number] = replace(found[number], status=status, seconds=event["seconds"])
    elif number in found and kind == "step_output":
        size = found[number].output_bytes + len(event["data"].encode("utf-8", "replace"))
        found[number] = replace(found[number], output_bytes=size)
