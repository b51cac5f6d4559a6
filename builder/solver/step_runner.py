"""Make one step: look for it once more under its lock, execute it if it is nowhere, record it.

The lock order is: the step lock (one per definition key, so that no step runs twice on one state directory), then
whatever the stores take.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from tiffin.builder.errors import BuildError, TiffinError
from tiffin.builder.events import InfoMessage, Sink, StepCached, StepFailed, StepFinished, StepStarted, WarningMessage
from tiffin.builder.execute.steps import Executor, StepResult, StepTask
from tiffin.builder.solver.results import StepMade, below, valid
from tiffin.builder.solver.step_keys import StepLook, content_key
from tiffin.cache.backend import StepRecord, Tiered
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING
from tiffin.cache.store.statedir import StateDir

if TYPE_CHECKING:
    from tiffin.builder.solver.reads import ReadsLook


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
        copied = executor.copied(task)
        content = content_key(below(step, task.chain), look.content_parts, copied)
        with self._state.lock(f"step-{look.key.hex}"):
            found = self._second_look(task, look, content, executor)
            if found is None:
                reads = self._reads(task, look, copied, executor)
                made = self._found_by_reads(reads, look, content, executor) if reads and look.looks else None
                return made or self._execute(task, look, content, executor, reads)
            record, source = found
            name = task.stage.label(task.number)
            self._sink.emit(StepCached(step_id=task.step_id, name=name, source=source, needs=task.needs))
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

    def _reads(self, task: StepTask, look: StepLook, copied: Mapping[str, str], executor: Executor) -> ReadsLook | None:
        """Return what looks for a step by its reads, None where they are not watched."""
        if not task.watched or executor.reads is None:
            return None
        from tiffin.builder.solver.reads import ReadsLook

        surroundings = executor.reads.surroundings(task)
        if surroundings is None:
            return None
        return ReadsLook(task, look, copied, self._cache, executor.reads, surroundings)

    def _found_by_reads(self, reads: ReadsLook, look: StepLook, content: Digest, executor: Executor) -> StepMade | None:
        task = reads.task
        record = reads.find(executor.has)
        if record is None:
            return None
        source, kept = reads.source(), reads.records_of_hit(record)
        if not self._frozen and reads.wants_proof():
            made, seconds = self._run(task, executor)
            if self._is_otherwise(task, record, made, executor):
                return self._recorded(task, look, content, made, seconds, reads)
        else:
            name = task.stage.label(task.number)
            self._sink.emit(StepCached(step_id=task.step_id, name=name, source=source, needs=task.needs))
        for key, item in kept.items():
            self._cache.put(key, item)
        return StepMade(record=record, keys=(), source=source, by_reads=kept, hit=reads.hit())

    def _is_otherwise(self, task: StepTask, found: StepRecord, made: StepResult, executor: Executor) -> bool:
        """Whether a step came out otherwise than its record by reads says, which is told: what was made now is used."""
        assert executor.reads is not None
        label, paths = task.stage.label(task.number), executor.reads.different(found.diff_id, made.layer.diff_id)
        if not paths:
            self._sink.emit(InfoMessage(message=f"{label} ran again and came out as its record by reads says"))
            return False
        from tiffin.builder.solver.explain import named

        text = f"{label} came out otherwise than its record by reads: {named(paths)}"
        self._sink.emit(WarningMessage(message=f"{text}; it is not reproducible, or reads what is not watched"))
        return True

    def _execute(
        self, task: StepTask, look: StepLook, content: Digest, executor: Executor, reads: ReadsLook | None
    ) -> StepMade:
        made, seconds = self._run(reads.task if reads else task, executor)
        return self._recorded(task, look, content, made, seconds, reads)

    def _run(self, task: StepTask, executor: Executor) -> tuple[StepResult, float]:
        """Return what a step makes, and the seconds that it took."""
        name, step = task.stage.label(task.number), task.stage.steps[task.number]
        if self._frozen:
            raise BuildError(
                f"{name} would run, and --frozen lets no step run",
                span=step.span,
                remedy="build without --frozen once, or name a cache that has it with --cache-from",
            )
        self._sink.emit(StepStarted(step_id=task.step_id, name=name, needs=task.needs))
        started = time.monotonic()
        try:
            made = executor.execute(task)
        except TiffinError as exc:
            self._sink.emit(StepFailed(step_id=task.step_id, seconds=time.monotonic() - started, message=exc.message))
            raise
        seconds = time.monotonic() - started
        self._sink.emit(StepFinished(step_id=task.step_id, seconds=seconds))
        return made, seconds

    def _recorded(
        self,
        task: StepTask,
        look: StepLook,
        content: Digest,
        made: StepResult,
        seconds: float,
        reads: ReadsLook | None,
    ) -> StepMade:
        record = StepRecord(
            diff_id=made.layer.diff_id,
            parent_chain=below(task.stage.steps[task.number], task.chain),
            created=made.layer.created,
            seconds=seconds,
            parts=look.parts,
            layer=made.layer.blob,
            empty=made.is_empty,
            description=made.description,
        )
        keys = (look.key, content)
        by_reads = reads.records(record, made.reads) if reads else {}
        for key, item in {**dict.fromkeys(keys, record), **by_reads}.items():
            self._cache.put(key, item)
        changed = reads.changed if reads else ()
        return StepMade(record=record, keys=keys, source=None, by_reads=by_reads, changed=changed)
