"""The steps of builds that ran: what became of each and how long it took, and what differs between two builds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from tiffin.builder.api.buildx.history import CANCELED, COMPLETED, ERROR, BuildRecord
from tiffin.cache.foundation.frozen import dataclass, replace

CACHED = "Cached"
SAME, CHANGED, ADDED, REMOVED = "=", "~", "+", "-"
_NUMBER = re.compile(r"^\[(.*?) ?\d+/\d+\] ")  # "[stage 2/5] " before the text of a step
_COMPARED = {
    "Context": "context", "Dockerfile": "dockerfile", "Target": "target", "Platform": "platforms",
    "BuildArgs": "build_args", "Status": "status", "Error": "error", "Images": "names", "Digest": "digest",
    "Size": "size_bytes",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRun:
    """A step of a build. `status` is one of Completed, Cached, Error, Canceled; `source` the cache that had it."""

    name: str
    status: str
    seconds: float = 0.0
    source: str = ""
    output_bytes: int = 0

    @property
    def key(self) -> str:
        """Return what it does in which stage, without its number, which others before it change."""
        return _NUMBER.sub(lambda match: f"[{match[1]}] ", self.name)

    @property
    def result(self) -> str:
        """Return how it went, in a word or in seconds."""
        return f"{self.seconds:.1f}s" if self.status == COMPLETED else self.status.upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepChange:
    """A step of one build or of both. `mark` is one of = ~ + -; a step that one has not is None there."""

    mark: str
    before: StepRun | None
    after: StepRun | None

    @property
    def name(self) -> str:
        """Return its name in the later build that has it."""
        found = self.after or self.before
        return found.name if found else ""


def steps_of(lines: Iterable[str]) -> list[StepRun]:
    """Return the steps of a log, in the order in which they began; one without an end was cancelled."""
    found: dict[int, StepRun] = {}
    for line in lines:
        event: dict[str, Any] = json.loads(line)
        kind, number = event["type"], event.get("step_id", 0)
        if kind == "step_started":
            found.setdefault(number, StepRun(name=event["name"], status=CANCELED))
        elif kind == "step_cached":
            found[number] = StepRun(name=event["name"], status=CACHED, source=event.get("source", ""))
        elif kind in ("step_finished", "step_failed") and number in found:
            status = COMPLETED if kind == "step_finished" else ERROR
            found[number] = replace(found[number], status=status, seconds=event["seconds"])
        elif kind == "step_output" and number in found:
            size = found[number].output_bytes + len(event["data"].encode("utf-8", "replace"))
            found[number] = replace(found[number], output_bytes=size)
    return list(found.values())


def differing(before: BuildRecord, after: BuildRecord) -> dict[str, tuple[Any, Any]]:
    """Return what differs between two records, by buildx's names: the values of both."""
    pairs = {title: (getattr(before, name), getattr(after, name)) for title, name in _COMPARED.items()}
    return {title: pair for title, pair in pairs.items() if pair[0] != pair[1]}


def compare(before: Sequence[StepRun], after: Sequence[StepRun]) -> list[StepChange]:
    """Return the steps of the later build, each with that of the earlier one that does the same in the same stage, and
    then those that only the earlier one has. A step is changed where one ran and the other had it from a cache, or
    failed.
    """
    waiting: dict[str, list[StepRun]] = {}
    for step in before:
        waiting.setdefault(step.key, []).append(step)
    rows = []
    for step in after:
        others = waiting.get(step.key)
        other = others.pop(0) if others else None
        mark = ADDED if other is None else SAME if other.status == step.status else CHANGED
        rows.append(StepChange(mark=mark, before=other, after=step))
    left = {id(step) for steps in waiting.values() for step in steps}
    rows += [StepChange(mark=REMOVED, before=step, after=None) for step in before if id(step) in left]
    return rows
