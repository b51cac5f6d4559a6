"""Make one step: look for it once more under its lock, execute it if it is nowhere, record it.

The lock order is: the step lock (one per definition key, so that no step runs twice on one state directory), then
whatever the stores take.
"""

from __future__ import annotations

import time

from tiffin.builder.errors import BuildError, TiffinError
from tiffin.builder.events import Sink, StepCached, StepFailed, StepFinished, StepStarted
from tiffin.builder.execute.steps import Executor, StepTask
from tiffin.builder.solver.results import StepMade, below, valid
from tiffin.builder.solver.step_keys import StepLook, content_key
from tiffin.cache.backend import StepRecord, Tiered
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.statedir import StateDir


class StepRunner:
    """Makes steps, from any thread. `frozen` lets none run."""

    def __init__(self, *, cache: Tiered, state: StateDir, sink: Sink, frozen: bool = False) -> None:
        self._cache = cache
        self._state = state
        self._sink = sink
        self._frozen = frozen

    def run(self, task: StepTask, look: StepLook, executor: Executor) -> StepMade:
        """Return the step's result. Raises what the executor raises, and BuildError for one that may not run."""
        step = task.stage.steps[task.number]
        content = content_key(below(step, task.chain), look.content_parts, executor.copied(task))
        with self._state.lock(f"step-{look.key.hex}"):
            found = self._second_look(task, look, content, executor)
            if found is None:
                return self._execute(task, look, content, executor)
            record, source = found
            self._sink.emit(StepCached(step_id=task.step_id, name=task.stage.label(task.number), source=source))
            self._cache.put(look.key, record)
            return StepMade(record=record, keys=(look.key,), source=source)

    def _second_look(
        self, task: StepTask, look: StepLook, content: Digest, executor: Executor
    ) -> tuple[StepRecord, str] | None:
        """Look again under the step's lock: another process may have made it, or its content may be known."""
        if not look.looks:
            return None
        candidates = (look.key, content) if look.by_definition else (content,)
        found = self._cache.get_many(candidates)
        for candidate in candidates:
            record = valid(found.get(candidate), task.stage.steps[task.number], task.chain)
            if record is not None and executor.has(record.diff_id):
                return record, self._cache.source(candidate)
        return None

    def _execute(self, task: StepTask, look: StepLook, content: Digest, executor: Executor) -> StepMade:
        name, step = task.stage.label(task.number), task.stage.steps[task.number]
        if self._frozen:
            raise BuildError(
                f"{name} would run, and --frozen lets no step run",
                span=step.span,
                remedy="build without --frozen once, or name a cache that has it with --cache-from",
            )
        self._sink.emit(StepStarted(step_id=task.step_id, name=name))
        started = time.monotonic()
        try:
            made = executor.execute(task)
        except TiffinError as exc:
            self._sink.emit(StepFailed(step_id=task.step_id, seconds=time.monotonic() - started, message=exc.message))
            raise
        seconds = time.monotonic() - started
        record = StepRecord(
            diff_id=made.layer.diff_id,
            parent_chain=below(step, task.chain),
            created=made.layer.created,
            seconds=seconds,
            parts=look.parts,
            layer=made.layer.blob,
            empty=made.is_empty,
            description=made.description,
        )
        keys = (look.key, content)
        for key in keys:
            self._cache.put(key, record)
        self._sink.emit(StepFinished(step_id=task.step_id, seconds=seconds))
        return StepMade(record=record, keys=keys, source=None)
