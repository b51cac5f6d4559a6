"""What decided how long a build took."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.report.steps import CACHED, StepRun


def critical_path(steps: Sequence[StepRun]) -> frozenset[int]:
    """Return the ids of the chain that decided how long the build took: from the step that ended last, back over what
    each had to wait for longest. A step that was found in a cache once the steps before it were done is on the way,
    too, but took no time.
    """
    by_id = {step.id: step for step in steps}
    passed: set[int] = set()
    step = max(steps, key=lambda item: item.end, default=None)
    while step is not None and step.id not in passed:
        passed.add(step.id)
        step = max((by_id[need] for need in step.needs if need in by_id), key=lambda item: item.end, default=None)
    return frozenset(number for number in passed if by_id[number].status != CACHED)


def waits(steps: Sequence[StepRun]) -> dict[int, float]:
    """Return for each step that ran, by its id, the seconds between the end of all that it needs and its beginning."""
    ends = {step.id: step.end for step in steps}
    return {
        step.id: max(0.0, step.start - max((ends[need] for need in step.needs if need in ends), default=0.0))
        for step in steps
        if step.status != CACHED
    }
