"""The steps of a plan on their way: which wait, and for what."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from tiffin.builder.events import Event, StepCached, StepFailed, StepFinished, StepsPlanned, StepStarted

_PLACE = re.compile(r"^\[[^]]*\]")  # "[stage 2/5]" before the text of a step
LONG_SECONDS = 1.0  # of which it is worth to tell how long it took before
LastTimes = Callable[[], Callable[[str], "float | None"]]  # of a step by its name: seconds of its last run


class PlannedSteps:
    """Steps by their names: planned, begun, done. Of what no plan told there is only what began."""

    def __init__(self) -> None:
        self._needs: dict[str, tuple[str, ...]] = {}
        self._begun: dict[str, float | None] = {}  # the seconds of those that ran to their end
        self._names: dict[int, str] = {}
        self._done = 0

    @property
    def done(self) -> int:
        """Return how many steps ended, however that was."""
        return self._done

    @property
    def total(self) -> int:
        """Return how many steps there are, as far as is known."""
        return len(self._needs.keys() | self._begun.keys())

    def take(self, event: Event) -> None:
        """Note what happened."""
        match event:
            case StepsPlanned():
                for name, needs in zip(event.names, event.needs, strict=True):
                    self._needs[name] = tuple(event.names[index] for index in needs)
            case StepStarted() | StepCached():
                self._names[event.step_id] = event.name
                self._begun[event.name] = None
                self._done += isinstance(event, StepCached)
            case StepFinished() | StepFailed():
                self._done += 1
                name = self._names.pop(event.step_id, "")
                self._begun[name] = event.seconds

    def waiting(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield the steps that wait for nothing but what runs, and the places of that which is in other stages."""
        running = set(self._names.values())
        for name, needs in self._needs.items():
            if name in self._begun or not running.intersection(needs):
                continue
            if all(need in self._begun for need in needs):
                yield name, tuple(place_of(need) for need in needs if need in running and not _is_next(need, name))

    def costliest(self) -> tuple[str, float] | None:
        """Return the step that took longest, if that is long and there were others."""
        ran = [(name, seconds) for name, seconds in self._begun.items() if seconds is not None]
        name, seconds = max(ran, key=lambda item: item[1], default=("", 0.0))
        return (name, seconds) if seconds >= LONG_SECONDS and len(self._begun) > 1 else None


class PastTimes:
    """How long steps took before. The history is read when the first step takes long, and not for others."""

    def __init__(self, last_times: LastTimes | None) -> None:
        self._last_times = last_times
        self._known: dict[str, float | None] = {}
        self._seconds_of: Callable[[str], float | None] | None = None

    def of(self, name: str, elapsed: float) -> float | None:
        """Return the seconds of a step's last run, None for a short one, and where that is not known."""
        if self._last_times is None or elapsed < LONG_SECONDS:
            return None
        if name not in self._known:
            self._seconds_of = self._seconds_of or self._last_times()
            self._known[name] = self._seconds_of(name)
        return self._known[name]


def place_of(name: str) -> str:
    """Return the stage and the number of a step, or all of its name."""
    found = _PLACE.match(name)
    return found[0] if found else name


def _is_next(before: str, name: str) -> bool:
    """Whether two steps are neighbours in one stage, so that it goes without saying that the second waits."""
    first, second = (re.match(r"^\[(.*?) ?(\d+)/(\d+)\]", text) for text in (before, name))
    return bool(first and second and (first[1], int(first[2]) + 1) == (second[1], int(second[2])))


def seconds_text(elapsed: float, before: float | None) -> str:
    """Return how long a step takes, beside its last time where that is known."""
    return f"{elapsed:.1f}s" if before is None else f"{elapsed:.1f}s, last time {before:.1f}s"
