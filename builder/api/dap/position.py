"""Where a session stands: the places of its plan, what was made so far, and what can be opened at a place."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.dap.children import Problem
from tiffin.builder.api.dap.places import HEAD, Place, Planned
from tiffin.builder.api.dap.work import State
from tiffin.builder.api.steps.kept_steps import KeptStep
from tiffin.builder.api.steps.plans import KeptPlan, kept_options
from tiffin.builder.image.chain import LayerRef
from tiffin.builder.instructions.base import Step
from tiffin.builder.instructions.ops import ImageOrigin, WorkdirOp
from tiffin.builder.oci.config import RunConfig
from tiffin.builder.plan.plan import Plan, StagePlan
from tiffin.cache.backend import StepRecord
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import replace


class Position:
    """The state of a session. `at`: the number of its place, -1 before it began; `problem`: why the step there failed.

    `made`: the layers of steps, by stage and number; `known`: their records by key.
    """

    def __init__(self, options: BuildOptions, planned: Planned) -> None:
        self.options = options
        self.planned = planned
        self.places: tuple[Place, ...] = planned.places()
        self.at = -1
        self.problem: Problem | None = None
        self.made: dict[tuple[int, int], LayerRef] = {}
        self.known: dict[Digest, StepRecord] = {}
        self._kept = KeptPlan(plan=planned.plan, members=kept_options(options), folder=os.fspath(Path.cwd()))

    def go_to(self, number: int, problem: Problem | None = None) -> None:
        """Stand at another place; `problem`: why its step failed."""
        self.at, self.problem = number, problem

    def learn(self, index: int, number: int, layer: LayerRef) -> None:
        """Take note of the layer of a step."""
        self.made[index, number] = layer

    @property
    def end(self) -> int:
        """Return the number of the last place."""
        return len(self.places) - 1

    @property
    def place(self) -> Place:
        """Return where it stands."""
        return self.places[max(self.at, 0)]

    def stops(self, number: int) -> Sequence[tuple[int, int]]:
        """Return what has to be made before a place: stages, each with how many steps; nothing where all is."""
        found: dict[int, int] = {}
        for place in self.places[:number]:
            if place.number != HEAD:
                found[place.index] = place.number + 1
        return [
            (index, count)
            for index, count in found.items()
            if not all((index, step) in self.made for step in range(count))
        ]

    def first_open(self) -> int:
        """Return the first place whose step is not made."""
        for number, place in enumerate(self.places):
            if not place.is_end and place.number != HEAD and (place.index, place.number) not in self.made:
                return number
        return self.end

    def place_of(self, label: str, problem: Problem) -> int:
        """Return the place of a step that failed: what progress called it, or where the error says; else this one."""
        for number, place in enumerate(self.places):
            if label and place.name == label and not place.is_end:
                return number
        span = problem.span
        if span is not None:
            for number, place in enumerate(self.places):
                if place.number != HEAD and place.span.first_line <= span.first_line <= place.span.last_line:
                    return number
        return max(self.at, 0)

    def step_at(self, place: Place) -> Step:
        """Return the step of a place; of a FROM and the end one with what is in force there."""
        stage = self.planned.plan.stages[place.index]
        if 0 <= place.number < len(stage.steps):
            return stage.steps[place.number]
        if place.is_end and stage.steps:
            return stage.steps[-1]
        config = self._base_config(place.index) if place.number == HEAD else stage.config
        return Step(op=WorkdirOp(path="/", user=""), text=place.name, span=place.span, config=config, env=config.env)

    def _base_config(self, index: int) -> RunConfig:
        stage = self.planned.plan.stages[index]
        if isinstance(stage.base, ImageOrigin):
            return self.planned.plan.images[stage.base.name].config.config
        return RunConfig()

    def state(self, place: Place) -> State:
        """Return what a command at a place runs in."""
        stage = self.planned.plan.stages[place.index]
        kept, number, before = self._kept, place.number, not place.is_end
        if place.number == HEAD or not stage.steps:
            alone = replace(stage, steps=(self.step_at(place),), whole=0)
            kept, number, before = replace(kept, plan=_with(kept.plan, place.index, alone)), 0, True
        elif place.is_end:
            number = len(stage.steps) - 1
        failure = self.problem.kept if self.problem is not None and place is self.place else ""
        made: Mapping[tuple[int, int], LayerRef] = dict(self.made)
        return State(
            step=KeptStep(kept=kept, index=place.index, number=number, made=made), before=before, failure=failure
        )


def _with(plan: Plan, index: int, stage: StagePlan) -> Plan:
    return replace(plan, stages={**plan.stages, index: stage})
