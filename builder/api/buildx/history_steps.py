"""What differs between two builds that ran."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.buildx.history import History
from tiffin.builder.api.buildx.recorder import BuildRecord, new_record
from tiffin.builder.api.session import Session
from tiffin.builder.report.steps import COMPLETED, key_of
from tiffin.builder.report.steps import StepRun as StepRun
from tiffin.builder.report.steps import steps_of as steps_of
from tiffin.cache.foundation.frozen import dataclass

SAME, CHANGED, ADDED, REMOVED = "=", "~", "+", "-"
_COMPARED = {
    "Context": "context", "Dockerfile": "dockerfile", "Target": "target", "Platform": "platforms",
    "BuildArgs": "build_args", "Status": "status", "Error": "error", "Images": "names", "Digest": "digest",
    "Size": "size_bytes",
}  # fmt: skip
LOOKED_AT = 5  # builds before, for how long a step took: it may have been in a cache since


def last_times(session: Session, options: BuildOptions) -> Callable[[str], float | None]:
    """Return what tells how many seconds a step took when it ran last in a build of the same name, by its name in
    progress; None where it did not, in the last builds.
    """
    name = new_record(options).name
    history = History(session)
    found: dict[str, float] = {}
    for record in [record for record in history.records() if record.name == name][:LOOKED_AT]:
        for step in steps_of(history.events(record.id)):
            if step.status == COMPLETED:
                found.setdefault(step.key, step.seconds)
    return lambda step: found.get(key_of(step))


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
