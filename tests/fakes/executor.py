"""An executor that makes layers out of nothing but what a step says and stands on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from tiffin.builder.errors import BuildError, CanceledError
from tiffin.builder.execute.steps import Executor, LayerReads, StepResult, StepTask
from tiffin.builder.image.chain import LayerRef, chain_of
from tiffin.builder.instructions.ops import StageOrigin
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.snapshots import BlobRef

LAYER = "application/vnd.oci.image.layer.v1.tar"
WAIT_SECONDS = 10


class FakeExecutor(Executor):
    """Keeps the contract of tiffin.builder.execute.executor.StepExecutor: what was made is at hand, one that is
    stopped cancels what runs.

    The layer of a step is its text over the layers below it, or what `comes_out` says for a text; a COPY from a stage
    reads all its layers. `acts` are run in the place of a step, by text.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.held: set[Digest] = set()
        self.executed: list[str] = []
        self.jobs: list[StepTask] = []
        self.stops = 0
        self.stopped = threading.Event()
        self.comes_out: dict[str, str] = {}
        self.acts: dict[str, Callable[[], None]] = {}

    def execute(self, task: StepTask) -> StepResult:
        text = task.stage.steps[task.number].text
        with self._lock:
            if self.stopped.is_set():
                raise CanceledError
            self.executed.append(text)
            self.jobs.append(task)
        self.acts.get(text, lambda: None)()
        seed = self.comes_out.get(text, f"{text} over {chain_of(task.chain)} of {sorted(self.copied(task).items())}")
        diff_id = Digest.of(seed.encode())
        with self._lock:
            self.held.add(diff_id)
        blob = BlobRef(media_type=LAYER, digest=diff_id, size_bytes=len(seed))
        layer = LayerRef(diff_id=diff_id, blob=blob, created=f"2026-01-01T00:00:{task.step_id:02}Z")
        return StepResult(layer=layer, description=text, is_empty=False)

    def has(self, diff_id: Digest) -> bool:
        return diff_id in self.held

    def copied(self, task: StepTask) -> Mapping[str, str]:
        origins = task.stage.steps[task.number].op.origins()
        return {
            f"content {number}": str(chain_of(task.sources[origin]))
            for number, origin in enumerate(origins)
            if isinstance(origin, StageOrigin)
        }

    @property
    def reads(self) -> LayerReads | None:
        return None

    def stop(self) -> None:
        self.stops += 1
        self.stopped.set()

    def until_stopped(self) -> None:
        """What a long command does: it ends as the executor is stopped."""
        assert self.stopped.wait(WAIT_SECONDS), "nobody stopped it"
        raise CanceledError


def failing(message: str) -> Callable[[], None]:
    """What a command does that ends badly."""

    def act() -> None:
        raise BuildError(message, remedy="mend it")

    return act
