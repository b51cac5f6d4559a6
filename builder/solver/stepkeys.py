"""The cache keys of a plan (design section 6): all definition keys are known before anything runs.

A step's definition key holds its parent's key, its operation, and per input: the content for a local directory, the
final key for a stage, the chain of layers for an image. Its content key holds the parent's ChainID instead of the
parent's key, and a stage's copied content instead of that stage's key: it finds a result again when something before
was rebuilt and came out the same. A base counts by its ChainID, so a base that moved but kept its layers still hits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from builder.instructions.base import ContextOrigin, CopyOp, ImageOrigin, RunOp, StageOrigin, Step
from builder.oci.spec import chain_id
from builder.solver.context import Contexts
from builder.solver.plan import Plan, StagePlan
from builder.solver.selecting import content_digest, select
from cache.digest import Digest
from cache.keys import KeyPart, step_key


class StepKeys:
    """Computes the keys of one plan. `epoch` is SOURCE_DATE_EPOCH in seconds: it decides times inside layers."""

    def __init__(self, plan: Plan, contexts: Contexts, *, epoch: int | None) -> None:
        self._plan = plan
        self._contexts = contexts
        self._epoch = epoch
        self._parts: dict[tuple[int, int], tuple[KeyPart, ...]] = {}
        self._keys: dict[int, tuple[Digest, ...]] = {}

    def of_stage(self, index: int) -> tuple[Digest, ...]:
        """The definition keys of a stage's steps, in order."""
        if index not in self._keys:
            stage = self._plan.stages[index]
            key = self.base(stage)
            keys = []
            for number, step in enumerate(stage.steps):
                parts = (*self._common(stage, step), *self._inputs(step))
                self._parts[index, number] = parts
                key = step_key((KeyPart("parent", str(key)), *parts))
                keys.append(key)
            self._keys[index] = tuple(keys)
        return self._keys[index]

    def parts(self, index: int, number: int) -> tuple[KeyPart, ...]:
        """The named parts of a step's definition key, its parent apart."""
        self.of_stage(index)
        return self._parts[index, number]

    def final(self, index: int) -> Digest:
        """The key of a stage's last step, or of its base if it has none."""
        keys = self.of_stage(index)
        return keys[-1] if keys else self.base(self._plan.stages[index])

    def base(self, stage: StagePlan) -> Digest:
        """The key of what a stage starts from."""
        if isinstance(stage.base, StageOrigin):
            return self.final(stage.base.index)
        diff_ids: Sequence[Digest] = ()
        if isinstance(stage.base, ImageOrigin):
            diff_ids = self._plan.images[stage.base.name].config.diff_ids
        return step_key((KeyPart("base", str(chain_id(diff_ids))),))

    def content(self, stage: StagePlan, step: Step, parent_chain: Digest, copied: Mapping[str, str]) -> Digest:
        """The content key of a step over `parent_chain`; `copied` holds the content digest of a stage's sources."""
        parts = [*self._common(stage, step)]
        if isinstance(step.op, CopyOp) and not isinstance(step.op.origin, StageOrigin):
            parts += self._inputs(step)
        parts += [KeyPart(name, value) for name, value in copied.items()]
        return step_key((KeyPart("chain", str(parent_chain)), *parts))

    def _common(self, stage: StagePlan, step: Step) -> tuple[KeyPart, ...]:
        parts = list(step.op.key_parts())
        if isinstance(step.op, RunOp):
            parts.append(KeyPart("platform", str(stage.platform)))
        if self._epoch is not None:
            parts.append(KeyPart("epoch", str(self._epoch)))
        return tuple(parts)

    def _inputs(self, step: Step) -> tuple[KeyPart, ...]:
        op = step.op
        if not isinstance(op, CopyOp) or not op.sources:
            return ()
        match op.origin:
            case ContextOrigin(name=name):
                tree = self._contexts.tree(name)
                selected = select(tree, op.sources, span=step.span)
                return (KeyPart("content", content_digest(tree, selected, with_owners=False)),)
            case StageOrigin(index=index):
                return (KeyPart("from", str(self.final(index))),)
            case ImageOrigin(name=name):
                return (KeyPart("from", str(chain_id(self._plan.images[name].config.diff_ids))),)
