"""The cache keys of a plan (design section 6): all definition keys are known before anything runs.

A step's definition key holds its parent's key, its operation, and per input: the content for a local directory, the
final key for a stage, the chain of layers for an image. Its content key holds the parent's ChainID instead of the
parent's key, and a stage's copied content instead of that stage's key: it finds a result again when something before
was rebuilt and came out the same. A base counts by its ChainID, so a base that moved but kept its layers still hits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tiffin.builder.instructions.base import Step
from tiffin.builder.instructions.ops import GitOrigin, ImageOrigin, RunOp, StageOrigin, stands_alone
from tiffin.builder.oci.spec import chain_id
from tiffin.builder.plan.plan import Plan, StagePlan
from tiffin.builder.sources.context import Contexts
from tiffin.builder.sources.selection import (
    at_step,
    content_of,
    listing_of,
    select_for,
)
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.keys import KeyPart, step_key

READS = "reads"  # the part that those of a record by reads begin with


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLook:
    """How a step is looked for: its definition key with its parts, and those of its content key that are known.

    `by_definition`: the definition key may find it; `looks`: anything may.
    """

    key: Digest
    parts: tuple[KeyPart, ...]
    content_parts: tuple[KeyPart, ...]
    by_definition: bool = True
    looks: bool = True


def content_key(below: Digest, parts: Sequence[KeyPart], copied: Mapping[str, str]) -> Digest:
    """Return the content key of a step over the layers whose ChainID is `below`; `copied` holds the content digest of
    a stage's sources.
    """
    return step_key((KeyPart("chain", str(below)), *parts, *(KeyPart(*item) for item in copied.items())))


def by_reads_key(key: Digest) -> Digest:
    """Return what a step is found by that was found by its reads before; only who asks for such records asks for
    it.
    """
    return step_key((KeyPart("by reads", str(key)),))


class StepKeys:
    """Computes the keys of one plan. `epoch` is SOURCE_DATE_EPOCH in seconds: it decides times inside layers."""

    def __init__(self, plan: Plan, contexts: Contexts, *, epoch: int | None) -> None:
        self._plan = plan
        self._contexts = contexts
        self._epoch = epoch
        self._parts: dict[tuple[int, int], tuple[KeyPart, ...]] = {}
        self._keys: dict[int, tuple[Digest, ...]] = {}
        self._finals: dict[int, Digest] = {}

    def of_stage(self, index: int) -> tuple[Digest, ...]:
        """Return the definition keys of a stage's steps, in order."""
        if index not in self._keys:
            stage = self._plan.stages[index]
            below = self.base(stage)
            keys = []
            for number, step in enumerate(stage.steps):
                parts = (*self._common(stage, step), *self._inputs(step))
                self._parts[index, number] = parts
                if stands_alone(step.op):
                    key = step_key((KeyPart("parent", "none"), *parts))
                    below = step_key((KeyPart("below", str(below)), KeyPart("link", str(key))))
                else:
                    key = below = step_key((KeyPart("parent", str(below)), *parts))
                keys.append(key)
            self._keys[index] = tuple(keys)
            self._finals[index] = below
        return self._keys[index]

    def candidates(self, index: int, number: int) -> tuple[Digest, ...]:
        """Return the keys that a step is looked for by before anything runs."""
        key, op = self.of_stage(index)[number], self._plan.stages[index].steps[number].op
        is_read = isinstance(op, RunOp) and op.run_defaults.reads and not op.run_defaults.verify_reads_percent
        return (key, by_reads_key(key)) if is_read else (key,)

    def parts(self, index: int, number: int) -> tuple[KeyPart, ...]:
        """Return the named parts of a step's definition key, its parent apart."""
        self.of_stage(index)
        return self._parts[index, number]

    def listings(self, index: int, number: int, limit: int) -> dict[str, dict[str, str]]:
        """Return what the local inputs of a step hold, by their content digest; inputs of more than `limit` paths are
        left out.
        """
        step = self._plan.stages[index].steps[number]
        digests = iter([part.value for part in self.parts(index, number) if part.name == "content"])
        result = {}
        for item in step.op.inputs():
            if not isinstance(item.origin, (StageOrigin, ImageOrigin, GitOrigin)):
                tree = self._contexts.tree(item.origin)
                listing = listing_of(tree, select_for(tree, step, item), limit)
                digest = next(digests)
                if listing is not None:
                    result[digest] = listing
        return result

    def final(self, index: int) -> Digest:
        """Return the key of a whole stage: of its last step and all below it."""
        self.of_stage(index)
        return self._finals[index]

    def start(self, stage: StagePlan) -> Digest | None:
        """Return the ChainID of what a stage starts from, None if that is another stage."""
        if isinstance(stage.base, StageOrigin):
            return None
        return chain_id(
            self._plan.images[stage.base.name].config.diff_ids if isinstance(stage.base, ImageOrigin) else ()
        )

    def base(self, stage: StagePlan) -> Digest:
        """Return the key of what a stage starts from."""
        if isinstance(stage.base, StageOrigin):
            return self.final(stage.base.index)
        diff_ids: Sequence[Digest] = ()
        if isinstance(stage.base, ImageOrigin):
            diff_ids = self._plan.images[stage.base.name].config.diff_ids
        return step_key((KeyPart("base", str(chain_id(diff_ids))),))

    def content_parts(self, index: int, number: int) -> tuple[KeyPart, ...]:
        """Return the parts of a step's content key that do not depend on layers."""
        stage = self._plan.stages[index]
        step = stage.steps[number]
        return (*self._common(stage, step), *self._inputs(step, with_layers=False))

    def _common(self, stage: StagePlan, step: Step) -> tuple[KeyPart, ...]:
        parts = list(step.op.key_parts())
        if isinstance(step.op, RunOp):
            parts.append(KeyPart("platform", str(stage.platform)))
        if self._epoch is not None:
            parts.append(KeyPart("epoch", str(self._epoch)))
        return tuple(parts)

    def _inputs(self, step: Step, *, with_layers: bool = True) -> list[KeyPart]:
        """Return what stands for the content of the step's inputs; `with_layers` off leaves out stages and images."""
        parts = self._beginnings(step) if with_layers else []
        for item in step.op.inputs():
            match item.origin:
                case StageOrigin() | ImageOrigin() if not with_layers:
                    continue
                case StageOrigin(index=index):
                    parts.append(KeyPart("from", str(self.final(index))))
                case ImageOrigin(name=name):
                    parts.append(KeyPart("from", str(chain_id(self._plan.images[name].config.diff_ids))))
                case GitOrigin() as git:
                    options = f"{git.subdir} {git.keep_git_dir} {git.submodules}"
                    with at_step(step):
                        parts.append(KeyPart("git", f"{self._contexts.commit(git)} {options}"))
                case origin:
                    with at_step(step):
                        tree = self._contexts.tree(origin)
                    parts.append(KeyPart("content", content_of(tree, step, item, with_owners=False)))
        return parts

    def _beginnings(self, step: Step) -> list[KeyPart]:
        """Return what stands for the stages and images that cache mounts begin with."""
        parts = []
        for origin in step.op.beginnings() if isinstance(step.op, RunOp) else ():
            if isinstance(origin, StageOrigin):
                parts.append(KeyPart("cache from", str(self.final(origin.index))))
            elif isinstance(origin, ImageOrigin):
                parts.append(KeyPart("cache from", str(chain_id(self._plan.images[origin.name].config.diff_ids))))
        return parts
