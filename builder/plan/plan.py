"""What planning yields: stages with their steps and configuration, in an order in which each comes after what it
needs.
"""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.builder.dockerfile.lint_base import LintWarning
from tiffin.builder.instructions.base import Declared, HistoryItem, Step
from tiffin.builder.instructions.ops import ImageOrigin, Origin, StageOrigin
from tiffin.builder.oci.config import RunConfig
from tiffin.builder.oci.spec import Platform
from tiffin.builder.plan.global_args import GlobalArg
from tiffin.builder.plan.plan_options import BaseImage
from tiffin.cache.foundation.frozen import dataclass, field, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """One reachable stage. `base` None is scratch."""

    index: int
    name: str  # as shown in progress; "" for a lone stage without a name
    base: StageOrigin | ImageOrigin | None
    platform: Platform
    config: RunConfig
    author: str
    steps: tuple[Step, ...]
    history: tuple[HistoryItem, ...]
    env: Mapping[str, str]
    args: Mapping[str, str | None]
    own_args: Mapping[str, Declared | None] = field(default_factory=dict)  # as in StageScope
    from_args: frozenset[str] = frozenset()  # the names its FROM uses
    workdir_set: bool = False
    commits: frozenset[int] = frozenset()  # numbers of the steps up to which #!COMMIT asks for a layer
    whole: int = 0  # how many steps it had before it was cut, 0 where it was not

    def label(self, step_index: int) -> str:
        """Return `[name 2/5] RUN make`, as BuildKit numbers steps."""
        offset = 1 if isinstance(self.base, ImageOrigin) else 0
        name = f"{self.name} " if self.name else ""
        count = (self.whole or len(self.steps)) + offset
        return f"[{name}{step_index + 1 + offset}/{count}] {self.steps[step_index].text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Reachable stages by index, in an order in which each comes after what it needs."""

    stages: Mapping[int, StagePlan]
    images: Mapping[str, BaseImage]
    target: int
    unused_build_args: tuple[str, ...] = ()
    findings: tuple[LintWarning, ...] = ()  # of build checks that need values
    global_args: Mapping[str, GlobalArg] = field(default_factory=dict)
    epoch: str = ""  # SOURCE_DATE_EPOCH of an ARG before the first FROM

    def used_steps(self, index: int, number: int) -> set[tuple[int, int]]:
        """Return the steps whose results a step uses, each by its stage and number: that before it, and the last ones
        of stages that it reads.
        """
        stage = self.stages[index]
        before = (index, number - 1) if number else self._last_step(stage.base)
        others = map(self._last_step, stage.steps[number].op.origins())
        return {place for place in (before, *others) if place is not None}

    def _last_step(self, origin: Origin | None) -> tuple[int, int] | None:
        """Return the last step of a stage, or of the one that it only names anew; None for anything else."""
        while isinstance(origin, StageOrigin):
            stage = self.stages[origin.index]
            if stage.steps:
                return origin.index, len(stage.steps) - 1
            origin = stage.base
        return None

    def order(self) -> list[int]:
        """Return the stages, each after those that it needs, which come as it names them."""
        found: list[int] = []
        self._visit(self.target, found)
        return found

    def _visit(self, index: int, found: list[int]) -> None:
        stage = self.stages[index]
        for origin in (stage.base, *(origin for step in stage.steps for origin in step.op.origins())):
            if isinstance(origin, StageOrigin) and origin.index not in found:
                self._visit(origin.index, found)
        found.append(index)

    def up_to(self, index: int, count: int) -> Plan:
        """Return a plan for the first `count` steps of a stage."""
        stage = self.stages[index]
        cut = replace(
            stage,
            steps=stage.steps[:count],
            history=tuple(item for item in stage.history if item.step is None or item.step < count),
            whole=stage.whole or len(stage.steps),
        )
        plan = replace(self, stages={**self.stages, index: cut}, target=index)
        return replace(plan, stages={needed: plan.stages[needed] for needed in sorted(plan.order())})

    def lineage(self) -> list[StagePlan]:
        """Return the stages of the image, lowest first."""
        stages = [self.stages[self.target]]
        while isinstance(stages[0].base, StageOrigin):
            stages.insert(0, self.stages[stages[0].base.index])
        return stages
