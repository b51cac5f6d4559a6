"""The steps of a build in time, by the events of its log: when each ran, what it waited for, the critical path."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tiffin.cache.foundation.frozen import dataclass, replace

RAN, CACHED, FAILED, CANCELED = "ran", "cached", "failed", "canceled"
_STAGE = re.compile(r"^\[(.*?) ?\d+/\d+\] ")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedStep:
    """A step. Times are seconds since the build began; `waited`: seconds between the end of all that it needs and its
    own beginning; `needs`: ids of steps; `why`: what a cache lacked, in words.
    """

    id: int
    name: str
    status: str
    start: float
    seconds: float = 0.0
    source: str = ""
    worker: str = ""
    needs: tuple[int, ...] = ()
    output_bytes: int = 0
    waited: float = 0.0
    is_critical: bool = False
    why: str = ""

    @property
    def stage(self) -> str:
        """Return the name of its stage, "" for a lone one."""
        found = _STAGE.match(self.name)
        return found[1] if found else ""

    @property
    def end(self) -> float:
        """Return when it ended."""
        return self.start + self.seconds


def timeline(lines: Iterable[str], began: float, finished: float) -> list[TimedStep]:
    """Return the steps of a log, by their ids; one that has no end was stopped when the build was."""
    found: dict[int, TimedStep] = {}
    reasons: dict[str, str] = {}
    for line in lines:
        event: dict[str, Any] = json.loads(line)
        if event["type"] == "noted" and event.get("step"):
            reasons[event["step"]] = event["message"].removeprefix(f"{event['step']}: ")
        elif "step_id" in event:
            _take(found, event, began)
    for number, step in found.items():
        if step.status == CANCELED and not step.seconds:
            found[number] = replace(step, seconds=max(0.0, finished - began - step.start))
    steps = {number: replace(step, why=reasons.get(step.name, "")) for number, step in sorted(found.items())}
    critical = _critical(steps)
    return [
        replace(step, waited=_waited(step, steps), is_critical=number in critical) for number, step in steps.items()
    ]


def _take(found: dict[int, TimedStep], event: Mapping[str, Any], began: float) -> None:
    number, kind = event["step_id"], event["type"]
    at = max(0.0, event["time"] - began)
    if kind in ("step_started", "step_cached"):
        found[number] = TimedStep(
            id=number,
            name=event["name"],
            status=CANCELED if kind == "step_started" else CACHED,
            start=at,
            source=event.get("source", ""),
            worker=event.get("worker", ""),
            needs=tuple(event.get("needs", ())),
        )
    elif number in found and kind in ("step_finished", "step_failed"):
        status = RAN if kind == "step_finished" else CANCELED if event.get("message") == CANCELED else FAILED
        found[number] = replace(found[number], status=status, seconds=event["seconds"])
    elif number in found and kind == "step_output":
        size = found[number].output_bytes + len(event["data"].encode("utf-8", "replace"))
        found[number] = replace(found[number], output_bytes=size)


def _critical(steps: Mapping[int, TimedStep]) -> set[int]:
    """Return the steps of the chain that decided how long the build took: from the one that ended last, back over what
    each had to wait for longest. A step that was found in a cache once the steps before it were done is on the way,
    too, but took no time.
    """
    passed: set[int] = set()
    number = max(steps, key=lambda item: steps[item].end, default=None)
    while number is not None and number not in passed:
        passed.add(number)
        number = max(
            (need for need in steps[number].needs if need in steps), key=lambda item: steps[item].end, default=None
        )
    return {item for item in passed if steps[item].status != CACHED}


def _waited(step: TimedStep, steps: Mapping[int, TimedStep]) -> float:
    if step.status == CACHED:
        return 0.0
    ready = max((steps[need].end for need in step.needs if need in steps), default=0.0)
    return max(0.0, step.start - ready)
