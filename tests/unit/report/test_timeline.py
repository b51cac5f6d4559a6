"""The steps of a log in time."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from tiffin.builder.report.steps import StepRun, steps_of
from tiffin.builder.report.timeline import critical_path, waits

BEGAN = 1000.0


def event(kind: str, at: float, number: int, **members: object) -> str:
    return json.dumps({"type": kind, "time": BEGAN + at, "step_id": number, **members})


def steps_in(log: Sequence[str], seconds: float = 8) -> list[StepRun]:
    return steps_of(log, BEGAN, BEGAN + seconds)


LOG = (
    event("step_cached", 0.1, 1, name="[base 1/2] RUN one", source="registry"),
    event("step_started", 0.5, 2, name="[base 2/2] RUN two", needs=[1]),
    event("step_finished", 2.5, 2, seconds=2.0),
    event("step_started", 2.5, 3, name="[left 1/1] RUN three", needs=[2]),
    event("step_started", 3.5, 4, name="[right 1/1] RUN four", needs=[2], worker="w1"),
    event("step_output", 3.6, 4, stream=1, data="é\n"),
    event("step_finished", 4.0, 4, seconds=0.5),
    event("step_finished", 7.5, 3, seconds=5.0),
    event("step_started", 7.5, 5, name="[stage-3 1/1] COPY --from=left /a /a", needs=[3, 4, 99]),
    event("step_finished", 8.0, 5, seconds=0.5),
)


def test_steps_stand_in_time() -> None:
    steps = {step.id: step for step in steps_in(LOG)}
    assert [step.status for step in steps.values()] == ["Cached", *["Completed"] * 4]
    assert [step.stage for step in steps.values()] == ["base", "base", "left", "right", "stage-3"]
    assert (steps[1].source, steps[4].worker, steps[4].output_bytes) == ("registry", "w1", 3)
    assert (steps[3].start, steps[3].end) == (2.5, 7.5)


def test_the_critical_path_leads_back_over_what_was_waited_for_longest() -> None:
    assert critical_path(steps_in(LOG)) == {2, 3, 5}


def test_the_critical_path_goes_through_what_was_found_late() -> None:
    found = (*LOG[:-2], event("step_cached", 7.5, 5, name="[stage-3 1/2] COPY --from=left /a /a", needs=[3, 4]))
    last = (
        event("step_started", 7.5, 6, name="[stage-3 2/2] RUN x", needs=[5]),
        event("step_finished", 8, 6, seconds=0.5),
    )
    assert critical_path(steps_in((*found, *last))) == {2, 3, 6}


def test_waiting_is_what_passed_although_all_was_there() -> None:
    assert waits(steps_in(LOG)) == pytest.approx({2: 0.4, 3: 0.0, 4: 1.0, 5: 0.0})


def test_failed_and_stopped_steps() -> None:
    log = (
        event("step_started", 1, 1, name="[a 1/1] RUN false"),
        event("step_started", 1, 2, name="[b 1/1] RUN sleep"),
        event("step_started", 1, 3, name="[c 1/1] RUN lost"),
        event("step_failed", 2, 1, seconds=1.0, message="exit code: 1"),
        event("step_failed", 3, 2, seconds=2.0, message="canceled"),
        event("step_finished", 3, 7, seconds=1.0),
    )
    steps = steps_in(log, 4)
    assert [(step.status, step.seconds) for step in steps] == [("Error", 1), ("Canceled", 2), ("Canceled", 3)]


def test_nothing_ran() -> None:
    assert critical_path(steps_in(())) == critical_path(steps_in(LOG[:1])) == frozenset()
