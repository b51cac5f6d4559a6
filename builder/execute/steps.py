"""What an executor of steps is asked for, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tiffin.builder.image.chain import Chain, LayerRef
from tiffin.builder.instructions.ops import Origin
from tiffin.builder.plan.plan import StagePlan
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a step stands on where its reads are watched: `shape` is all but what the watched files hold, `contents`
    their digests by path, `layers` those that they came with.
    """

    shape: Digest
    contents: Mapping[str, str]
    layers: tuple[Digest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTask:
    """One step to execute over `chain`. `needs_tree`: something later mounts the result.

    `watched`: which layers of the chain have files of which is to be known whether the step reads them; `needs`: the
    ids of the steps whose results it uses.
    """

    stage: StagePlan
    number: int
    chain: Chain
    step_id: int
    needs_tree: bool
    for_target: bool  # the layer becomes part of the image
    sources: Mapping[Origin, Chain]  # the layers of each stage or image it reads
    watched: frozenset[int] = frozenset()
    surroundings: Surroundings | None = None  # where any are watched
    needs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """A layer just made. `reads`: the digests of all watched files that decided it, None where that is not certain."""

    layer: LayerRef
    description: str
    is_empty: bool
    reads: Mapping[str, str] | None = None


class LayerReads(Protocol):
    """What records by reads are made and looked for with."""

    def surroundings(self, task: StepTask) -> Surroundings | None:
        """Return what a step stands on, None where that cannot be told."""

    def contents(self, layers: Sequence[Digest]) -> Mapping[str, str] | None:
        """Return the digests of the files in these layers, None where one is not here any more."""

    def different(self, before: Digest, after: Digest) -> Sequence[str]:
        """Return the paths that differ between two results of one step, times apart."""


class Executor(Protocol):
    """What a Solver needs done; tiffin.builder.execute.executor has the real one."""

    def execute(self, task: StepTask) -> StepResult:
        """Make the step's layer; raises BuildError."""

    def has(self, diff_id: Digest) -> bool:
        """Whether the layer is here, packed or unpacked."""

    def copied(self, task: StepTask) -> Mapping[str, str]:
        """Return the content part of a COPY from a stage, for its content key; nothing for other steps."""

    @property
    def reads(self) -> LayerReads | None:
        """Return what tells of what steps read, None where nothing can."""

    def stop(self) -> None:
        """Make running steps end soon; called once, when a step of another stage failed."""
