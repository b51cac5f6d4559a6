"""Where the result of each step came from, for provenances and SBOMs."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence

from tiffin.builder.errors import Span
from tiffin.builder.plan.plan import Plan, StagePlan
from tiffin.builder.solver.materials import Material, materials_of
from tiffin.builder.solver.results import StepObserver
from tiffin.builder.solver.step_keys import StepKeys
from tiffin.builder.sources.context import Contexts
from tiffin.cache.backend import StepRecord
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass

RAN = ""  # the source of what was made by this build


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedStep:
    """One step of a build: where it stands, its definition key, and the layer that is its result.

    `number` counts the steps of its stage from 0; `source` is RAN or the name of a cache; `in_target`: its layer is
    part of the image.
    """

    stage: str
    stage_index: int
    number: int
    text: str
    span: Span
    key: Digest
    source: str
    diff_id: Digest
    in_target: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What attestations tell of a build. `isolation`: the tier in which commands ran, "" where none had to."""

    materials: tuple[Material, ...]
    steps: tuple[TracedStep, ...]
    isolation: str
    is_reproducible: bool  # all times come from SOURCE_DATE_EPOCH


class StepTrace(StepObserver):
    """Collects while a build goes on."""

    def __init__(self, plan: Plan, keys: StepKeys, *, is_reproducible: bool) -> None:
        self._plan = plan
        self._keys = keys
        self._is_reproducible = is_reproducible
        self._lock = threading.Lock()  # guards the next
        self._found: dict[tuple[int, int], tuple[str, Digest]] = {}

    def cached(self, index: int, number: int, record: StepRecord, source: str) -> None:
        with self._lock:
            self._found[index, number] = (source, record.diff_id)

    def ran(self, index: int, number: int, keys: Sequence[Digest], record: StepRecord, *, for_target: bool) -> None:
        with self._lock:
            self._found[index, number] = (RAN, record.diff_id)

    def ended(self, lineage: Sequence[StagePlan], contexts: Contexts, isolation: str) -> Trace:
        """Return what was collected; `lineage`: the stages of the image."""
        return Trace(
            materials=materials_of(self._plan, contexts),
            steps=tuple(self._steps({stage.index for stage in lineage})),
            isolation=isolation,
            is_reproducible=self._is_reproducible,
        )

    def _steps(self, lineage: Collection[int]) -> Iterator[TracedStep]:
        """Yield the steps that were needed, in the order of the Dockerfile."""
        for (index, number), (source, diff_id) in sorted(self._found.items()):
            stage = self._plan.stages[index]
            step = stage.steps[number]
            yield TracedStep(
                stage=stage.name,
                stage_index=index,
                number=number,
                text=step.text,
                span=step.span,
                key=self._keys.of_stage(index)[number],
                source=source,
                diff_id=diff_id,
                in_target=index in lineage,
            )
