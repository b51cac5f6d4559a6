"""Solve a plan: look every step up, run what is missing, record it.

Stages that do not need each other run side by side. A stage whose steps are all cached is
never begun, nor is what only it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from tiffin.builder.errors import CanceledError, TiffinError
from tiffin.builder.events import Sink, StepCached
from tiffin.builder.execute.steps import Executor, StepTask
from tiffin.builder.image.chain import Chain, LayerRef
from tiffin.builder.instructions.ops import ImageOrigin, Origin, RunOp, StageOrigin
from tiffin.builder.plan.plan import Plan, StagePlan
from tiffin.builder.solver.results import Elsewhere, StepMade, StepObserver, base_chain, layer_of, valid, watched_layers
from tiffin.builder.solver.step_keys import StepKeys, StepLook
from tiffin.cache.backend import StepRecord, Tiered
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING
from tiffin.cache.store.statedir import StateDir

if TYPE_CHECKING:
    from concurrent.futures import Future

    from tiffin.builder.solver.step_runner import StepRunner


@dataclass(slots=True)
class _Forecast:
    """What the definition keys say of a stage: its steps' records as far as they form an unbroken chain."""

    chain: Chain | None  # None: the base itself must be built first
    hits: int
    records: list[StepRecord]
    keys: list[Digest]  # that found them


class Solver:
    """Solves one plan. `use_cache` False runs every RUN, COPY and ADD again, `frozen` lets none run; the `watches` are
    told of each step.
    """

    def __init__(
        self,
        *,
        plan: Plan,
        keys: StepKeys,
        cache: Tiered,
        state: StateDir,
        sink: Sink,
        use_cache: bool,
        uncached_stages: frozenset[str] = frozenset(),
        frozen: bool = False,
        observers: Sequence[StepObserver] = (),
    ) -> None:
        self._observers = observers
        self._plan = plan
        self._keys = keys
        self._cache = cache
        self._state = state
        self._sink = sink
        self._use_cache = use_cache
        self._frozen = frozen
        self._uncached = {index for index, stage in plan.stages.items() if stage.name in uncached_stages}
        self._known = {index: self._known_steps(index) for index in sorted(plan.stages)}
        self._records: dict[Digest, StepRecord] = {}
        self._forecasts: dict[int, _Forecast] = {}
        self._ids: dict[tuple[int, int], int] = {}
        self._results: dict[int, dict[Digest, StepRecord]] = {}
        self._by_reads: dict[int, dict[Digest, StepRecord]] = {}
        self._target_stages = set(self._lineage(plan.target))
        self.requested_keys: Sequence[Digest] = ()  # what a builder with nothing asks a cache for

    # -- before anything runs --------------------------------------------------------------------------------------

    def look_up(self, has: Callable[[Digest], bool]) -> None:
        """Ask the cache for every key of the plan at once; `has` tells whether a layer is at hand."""
        for index in sorted(self._plan.stages):
            for number in range(len(self._plan.stages[index].steps)):
                self._ids[index, number] = len(self._ids) + 1
        if self._use_cache:
            stages = sorted(self._plan.stages)
            keys = self.requested_keys = [
                key
                for index in stages
                for number in range(self._known[index])
                for key in self._keys.candidates(index, number)
            ]
            found = self._cache.get_many(keys)
            self._records = {key: record for key, record in found.items() if has(record.diff_id)}
        for index in sorted(self._plan.stages):
            self._forecasts[index] = self._forecast(index)

    def results(self, *, all_stages: bool, by_reads: bool = False) -> dict[Digest, StepRecord]:
        """Return the records of the steps that are done, by all their keys: of the target's lineage, or of every
        stage; `by_reads`: those too that only who looks for what steps read asks for.
        """
        found: dict[Digest, StepRecord] = {}
        for index, forecast in self._forecasts.items():
            if all_stages or index in self._target_stages:
                own = zip(forecast.keys, self._keys.of_stage(index), forecast.records, strict=False)
                found.update((used, record) for used, key, record in own if by_reads or used == key)
                found.update(self._results.get(index, {}))
                found.update(self._by_reads.get(index, {}) if by_reads else {})
        return found

    def pending(self) -> list[tuple[StagePlan, int]]:
        """Return the steps that may have to run, by what is known now: stage and step index."""
        result = []
        for index in self._needed():
            stage = self._plan.stages[index]
            result += [(stage, number) for number in range(self._forecasts[index].hits, len(stage.steps))]
        return result

    def layers_at_hand(self) -> list[LayerRef]:
        """Return the layers of all stages as far as they are known before anything runs."""
        return [layer for forecast in self._forecasts.values() for layer in forecast.chain or ()]

    def hits(self) -> Iterator[tuple[int, int, StepRecord, str]]:
        """Yield stage and step index, record and cache of all steps that were found, also of stages that nobody needs
        then.
        """
        for index, found in self._forecasts.items():
            for number, (key, record) in enumerate(zip(found.keys, found.records, strict=True)):
                yield index, number, record, self._cache.source(key)

    def cached_chain(self) -> Chain | None:
        """Return all layers of the target if every step of its lineage is cached, else None."""
        forecast = self._forecasts[self._plan.target]
        complete = forecast.hits == len(self._plan.stages[self._plan.target].steps)
        return forecast.chain if complete else None

    def announce_cached(self) -> None:
        """Report the steps of a fully cached build."""
        for index in self._lineage(self._plan.target):
            self._announce_hits(index)

    def forecast(self) -> Iterator[tuple[int, int, StepRecord | None, str]]:
        """Yield stage and step index, record and cache (None without) of each step that would be looked at."""
        for index in sorted({*self._needed(), *self._lineage(self._plan.target)}):
            found = self._forecasts[index]
            for number, key in enumerate(self._keys.of_stage(index)):
                is_known = number < found.hits
                record, used = (found.records[number], found.keys[number]) if is_known else (None, key)
                yield index, number, record, self._cache.source(used)

    def _announce_hits(self, index: int) -> None:
        found = self._forecasts[index]
        for number, (key, record) in enumerate(zip(found.keys, found.records, strict=True)):
            self._announce(index, number, key, record)

    def _lineage(self, index: int) -> list[int]:
        """Return a stage and the stages it is built on, lowest first."""
        base = self._plan.stages[index].base
        return [*(self._lineage(base.index) if isinstance(base, StageOrigin) else []), index]

    def _forecast(self, index: int) -> _Forecast:
        stage = self._plan.stages[index]
        chain: Chain = ()
        if isinstance(stage.base, StageOrigin):
            below = self._forecasts[stage.base.index]
            if below.chain is None or below.hits < len(self._plan.stages[stage.base.index].steps):
                return _Forecast(chain=None, hits=0, records=[], keys=[])
            chain = below.chain
        elif isinstance(stage.base, ImageOrigin):
            chain = base_chain(self._plan.images[stage.base.name])
        found = _Forecast(chain=chain, hits=0, records=[], keys=[])
        for number, step in enumerate(stage.steps[: self._known[index]]):
            candidates = [
                (key, valid(self._records.get(key), step, chain)) for key in self._keys.candidates(index, number)
            ]
            key, record = next(((key, record) for key, record in candidates if record is not None), (None, None))
            if key is None or record is None:
                break
            found.records.append(record)
            found.keys.append(key)
            chain = (*chain, layer_of(record))
        return replace(found, chain=chain, hits=len(found.records))

    def _known_steps(self, index: int) -> int:
        """Return how many steps of a stage may be found by their definition: not what reads a stage that is to be made
        anew.
        """
        stage = self._plan.stages[index]
        if index in self._uncached or (isinstance(stage.base, StageOrigin) and self._is_renewed(stage.base.index)):
            return 0
        for number, step in enumerate(stage.steps):
            if any(isinstance(origin, StageOrigin) and self._is_renewed(origin.index) for origin in step.op.origins()):
                return number
        return len(stage.steps)

    def _is_renewed(self, index: int) -> bool:
        return index in self._uncached or self._known_steps(index) < len(self._plan.stages[index].steps)

    def _needed(self) -> list[int]:
        """Return the stages that must do something, each after those it needs."""
        order: list[int] = []

        def visit(index: int) -> None:
            if index in order:
                return
            stage, forecast = self._plan.stages[index], self._forecasts[index]
            if forecast.hits == len(stage.steps) and forecast.chain is not None:
                return
            if isinstance(stage.base, StageOrigin):
                visit(stage.base.index)
            for step in stage.steps[forecast.hits :]:
                for origin in step.op.origins():
                    if isinstance(origin, StageOrigin):
                        visit(origin.index)
            order.append(index)

        visit(self._plan.target)
        return order

    # -- running ---------------------------------------------------------------------------------------------------

    def solve(self, executor: Executor, elsewhere: Elsewhere | None = None) -> Chain:
        """Run what is missing, on other machines what `elsewhere` takes; all layers of the target.

        The first error stops every stage and is raised.
        """
        from queue import SimpleQueue

        from tiffin.builder.solver.step_runner import StepRunner
        from tiffin.cache.foundation.workers import Workers, take

        def stop() -> None:
            executor.stop()
            if elsewhere is not None:
                elsewhere.stop()

        runner = StepRunner(cache=self._cache, state=self._state, sink=self._sink, frozen=self._frozen)
        needed = self._needed()
        futures: dict[int, Future[Chain]] = {}
        ended: SimpleQueue[Future[Chain]] = SimpleQueue()
        # every stage has a thread, so one that waits for another never keeps it from starting
        with Workers(max_workers=max(1, len(needed)), thread_name_prefix="stage") as pool:
            try:
                for index in needed:
                    futures[index] = pool.submit(self._run_stage, index, executor, runner, elsewhere, dict(futures))
                    futures[index].add_done_callback(ended.put)
                # no wait() of futures: interrupted as it begins, it keeps locks that the threads need to end
                failed = any(take(ended).exception() for _ in needed)
            except BaseException:  # Ctrl-C: the pool waits for its threads a moment, in which they can end
                stop()
                raise
            if failed:
                stop()
                pool.shutdown()
                raise self._cause(futures)
            if elsewhere is not None:
                try:
                    elsewhere.finish()
                finally:
                    elsewhere.stop()
        if self._plan.target in futures:
            return futures[self._plan.target].result()
        chain = self.cached_chain()
        assert chain is not None
        return chain

    def _cause(self, futures: Mapping[int, Future[Chain]]) -> BaseException:
        """Return the error to tell: one that is no mere consequence of another stage's."""
        errors = [error for future in futures.values() if (error := future.exception())]
        real = [error for error in errors if not isinstance(error, CanceledError)]
        return (real or errors)[0]

    def _run_stage(
        self,
        index: int,
        executor: Executor,
        runner: StepRunner,
        elsewhere: Elsewhere | None,
        futures: Mapping[int, Future[Chain]],
    ) -> Chain:
        stage, forecast = self._plan.stages[index], self._forecasts[index]
        if forecast.chain is not None:
            chain, first = forecast.chain, forecast.hits
            self._announce_hits(index)
        else:
            assert isinstance(stage.base, StageOrigin)
            chain, first = self._result_of(stage.base.index, futures), 0
        while first < len(stage.steps):
            tasks = [self._task(stage, first, chain, futures)]
            end = first + 1 if elsewhere is None else self._end_of_run(stage, first, futures)
            tasks += [self._task(stage, number, chain, futures) for number in range(first + 1, end)]
            if elsewhere is not None and elsewhere.takes(tasks):
                looks = [self._look(index, number) for number in range(first, end)]
                for number, made in enumerate(elsewhere.run(tasks, looks), first):
                    for key in made.keys:
                        self._cache.put(key, made.record)
                    chain = (*chain, self._keep(index, number, made))
            else:
                for task in tasks:
                    chain = (*chain, self._run(replace(task, chain=chain), runner, executor))
            first = end
        return chain

    def _end_of_run(self, stage: StagePlan, first: int, futures: Mapping[int, Future[Chain]]) -> int:
        """Return where an unbroken run of steps ends: before one that has to wait for another stage."""
        waits = {index for index, future in futures.items() if not future.done()}
        for number in range(first + 1, len(stage.steps)):
            origins = stage.steps[number].op.origins()
            if any(isinstance(origin, StageOrigin) and origin.index in waits for origin in origins):
                return number
        return len(stage.steps)

    def _task(self, stage: StagePlan, number: int, chain: Chain, futures: Mapping[int, Future[Chain]]) -> StepTask:
        sources: dict[Origin, Chain] = {}
        for origin in stage.steps[number].op.origins():
            if isinstance(origin, StageOrigin):
                sources[origin] = self._result_of(origin.index, futures)
            elif isinstance(origin, ImageOrigin):
                sources[origin] = base_chain(self._plan.images[origin.name])
        return StepTask(
            stage=stage,
            number=number,
            chain=chain,
            step_id=self._ids[stage.index, number],
            needs_tree=self._needs_tree(stage, number),
            for_target=stage.index in self._target_stages,
            sources=sources,
            needs=self._needs(stage.index, number),
        )

    def _result_of(self, index: int, futures: Mapping[int, Future[Chain]]) -> Chain:
        if index in futures:
            try:
                return futures[index].result()
            except TiffinError as exc:
                raise CanceledError from exc
        chain = self._forecasts[index].chain
        assert chain is not None
        return chain

    def _needs_tree(self, stage: StagePlan, number: int) -> bool:
        """Whether a RUN will mount the layer: one below it in the stage, or in a stage built on it."""
        if any(isinstance(step.op, RunOp) for step in stage.steps[number + 1 :]):
            return True
        above = [other for other in self._plan.stages.values() if other.base == StageOrigin(index=stage.index)]
        return any(self._needs_tree(other, -1) for other in above)

    def _run(self, task: StepTask, runner: StepRunner, executor: Executor) -> LayerRef:
        index, number = task.stage.index, task.number
        task = replace(task, watched=self._watched(task))
        return self._keep(index, number, runner.run(task, self._look(index, number), executor))

    def _watched(self, task: StepTask) -> frozenset[int]:
        lineage = [step for index in self._lineage(task.stage.index)[:-1] for step in self._plan.stages[index].steps]
        return watched_layers(task.stage.steps[task.number], [*lineage, *task.stage.steps[: task.number]], task.chain)

    def _look(self, index: int, number: int) -> StepLook:
        """Return how a step is looked for once more when it is its turn."""
        return StepLook(
            key=self._keys.of_stage(index)[number],
            parts=self._keys.parts(index, number),
            content_parts=self._keys.content_parts(index, number),
            by_definition=number < self._known[index],
            looks=self._use_cache and index not in self._uncached,
        )

    def _keep(self, index: int, number: int, made: StepMade) -> LayerRef:
        """Remember a result, and tell of it."""
        for key in made.keys:
            self._results.setdefault(index, {})[key] = made.record
        self._by_reads.setdefault(index, {}).update(made.by_reads)
        for watch in self._observers:
            watch.read(index, number, made.hit, made.changed)
            if made.source is None:
                watch.ran(index, number, made.keys, made.record, for_target=index in self._target_stages)
            else:
                watch.cached(index, number, made.record, made.source)
        return layer_of(made.record)

    def _announce(self, index: int, number: int, key: Digest, record: StepRecord) -> None:
        name, source = self._plan.stages[index].label(number), self._cache.source(key)
        needs = self._needs(index, number)
        self._sink.emit(StepCached(step_id=self._ids[index, number], name=name, source=source, needs=needs))
        for watch in self._observers:
            watch.cached(index, number, record, source)

    def _needs(self, index: int, number: int) -> tuple[int, ...]:
        """Return the ids of the steps that a step uses."""
        return tuple(sorted(self._ids[place] for place in self._plan.used_steps(index, number)))
