"""How long it is from each step of a plan to the end of the build, before anything is known of how long steps take."""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.builder.farm.critical_path import ranks
from tiffin.builder.instructions.ops import RunOp, StageOrigin
from tiffin.builder.plan.plan import Plan, StagePlan

RUN_SECONDS, COPY_SECONDS = 10.0, 0.1  # what is expected of steps; only what is longer counts
Place = tuple[int, int]  # of a step: stage and number


def expected_seconds(stage: StagePlan, number: int) -> float:
    """Return what a step is expected to take."""
    return RUN_SECONDS if isinstance(stage.steps[number].op, RunOp) else COPY_SECONDS


def ranks_of(plan: Plan) -> Mapping[Place, float]:
    """Return the seconds from the beginning of each step to the end of the build."""
    seconds: dict[str, float] = {}
    needs: dict[str, list[str]] = {}
    places: dict[str, Place] = {}
    for index in sorted(plan.stages):
        stage = plan.stages[index]
        name = f"{index}"
        seconds[name] = 0.0
        needs[name] = [f"{stage.base.index} end"] if isinstance(stage.base, StageOrigin) else []
        for number, step in enumerate(stage.steps):
            before, name = name, f"{index}:{number}"
            places[name] = (index, number)
            seconds[name] = expected_seconds(stage, number)
            needs[name] = [before, *(f"{o.index} end" for o in step.op.origins() if isinstance(o, StageOrigin))]
        seconds[f"{index} end"] = 0.0
        needs[f"{index} end"] = [name]
    found = ranks(seconds, needs)
    return {place: found[name] for name, place in places.items()}
