"""What an executor of steps is asked for, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.builder.image.chain import Chain, LayerRef
from tiffin.builder.instructions.ops import Origin
from tiffin.builder.plan.plan import StagePlan
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTask:
    """One step to execute over `chain`. `needs_tree`: something later mounts the result."""

    stage: StagePlan
    number: int
    chain: Chain
    step_id: int
    needs_tree: bool
    for_target: bool  # the layer becomes part of the image
    sources: Mapping[Origin, Chain]  # the layers of each stage or image it reads


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """A layer just made."""

    layer: LayerRef
    description: str
    is_empty: bool


class Executor(Protocol):
    """What a Solver needs done; tiffin.builder.execute.executor has the real one."""

    def execute(self, task: StepTask) -> StepResult:
        """Make the step's layer; raises BuildError."""

    def has(self, diff_id: Digest) -> bool:
        """Whether the layer is here, packed or unpacked."""

    def copied(self, task: StepTask) -> Mapping[str, str]:
        """Return the content part of a COPY from a stage, for its content key; nothing for other steps."""

    def stop(self) -> None:
        """Make running steps end soon; called once, when a step of another stage failed."""
