"""The places of a build at which it can stop: each FROM and each step, in the order in which they are gone through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tiffin.builder.errors import Span
from tiffin.builder.instructions.ops import ImageOrigin, StageOrigin
from tiffin.builder.plan.plan import Plan
from tiffin.cache.foundation.frozen import dataclass

HEAD = -1  # the number of a FROM


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Before a step of a stage; before its first where `number` is HEAD. The last place is the end, after all steps."""

    index: int
    number: int
    span: Span
    name: str
    is_end: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan with the lines of its FROMs by stage, the text of the Dockerfile, and its path, "" where it has none."""

    plan: Plan
    heads: Mapping[int, Span]
    source: bytes
    path: str

    def places(self) -> tuple[Place, ...]:
        """Return all places, in order."""
        found: list[Place] = []
        plan = self.plan
        for index in plan.order():
            stage, head = plan.stages[index], self.heads[index]
            found.append(Place(index=index, number=HEAD, span=head, name=head.text.strip().splitlines()[0]))
            found += [
                Place(index=index, number=number, span=step.span, name=stage.label(number))
                for number, step in enumerate(stage.steps)
            ]
        last = found[-1]
        return (*found, Place(index=last.index, number=last.number + 1, span=last.span, name="end", is_end=True))

    def waiting(self, index: int) -> list[tuple[int, int]]:
        """Return the steps that wait for a stage: that which uses it, what uses the stage of that, and so on."""
        found: list[tuple[int, int]] = []
        while index != self.plan.target and len(found) <= len(self.plan.stages):
            user = self._user(index)
            if user is None:
                break
            found.append(user)
            index = user[0]
        return found

    def _user(self, index: int) -> tuple[int, int] | None:
        wanted = StageOrigin(index=index)
        for other in self.plan.order():
            stage = self.plan.stages[other]
            if stage.base == wanted:
                return other, HEAD
            for number, step in enumerate(stage.steps):
                if wanted in step.op.origins():
                    return other, number
        return None

    def base_name(self, index: int) -> str:
        """Return what a stage is built on."""
        base = self.plan.stages[index].base
        if isinstance(base, ImageOrigin):
            return base.name
        return f"stage {base.index}" if isinstance(base, StageOrigin) else "scratch"


def place_at(places: Sequence[Place], line: int) -> int | None:
    """Return the place of a line: the first whose instruction has it, or the next below it; None for below all."""
    real = [number for number, place in enumerate(places) if not place.is_end]
    having = [n for n in real if places[n].span.first_line <= line <= places[n].span.last_line]
    below = sorted((places[n].span.first_line, n) for n in real if places[n].span.first_line > line)
    return having[0] if having else below[0][1] if below else None
