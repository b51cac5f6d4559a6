"""Build targets: those whose steps are all known one after the other, the others side by side.

A process enters a user namespace once, and only while it has one thread. So every target is tried first without one;
only where a step has to run there does the process enter, for all that is left. Equal steps run once: each is looked
for again under a lock of its key.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

from tiffin.builder.api.bake.jobs import Job, Outcome, in_order
from tiffin.builder.api.bake.sharing import NamespaceNeededError, SharedLauncher, SharedSession
from tiffin.builder.api.bake.sinks import Numbers, TargetSink
from tiffin.builder.api.build import build
from tiffin.builder.api.session import Session
from tiffin.builder.errors import TiffinError
from tiffin.builder.events import Sink
from tiffin.cache.foundation.workers import take

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

LEAST_AT_ONCE = 2
FARM_AT_ONCE = 64


def build_all(
    jobs: Sequence[Job], session: Session, sink: Sink, *, keeps_going: bool = False, needed: Collection[str] = ()
) -> dict[str, Outcome]:
    """Build all targets and return what became of each. The first failure ends the others, unless it `keeps_going`:
    then only those are left out that need what failed. `needed` are targets whose images others take later.
    """
    return _Builds(jobs, session, sink, keeps_going=keeps_going, needed=needed).run()


class _Builds:
    def __init__(
        self, jobs: Sequence[Job], session: Session, sink: Sink, *, keeps_going: bool, needed: Collection[str]
    ) -> None:
        self._jobs = in_order(jobs)
        self._session = session
        self._sink = sink
        self._keeps_going = keeps_going
        self._needed = {*needed, *(other for job in jobs for other in job.needs.values())}
        self._numbers = Numbers()
        self._outcomes: dict[str, Outcome] = {}
        self._has_failed = False
        self._ended = False  # what runs is stopped

    def run(self) -> dict[str, Outcome]:
        """Build everything."""
        left = []
        for job in self._jobs:
            if any(spec.push for spec in job.options.outputs):
                left.append(job)  # several may wait for a registry at once
            elif not self._is_over(job) and not self._built_without_namespace(job):
                left.append(job)
        if left and not self._stops():
            self._build_side_by_side(left)
        return {job.name: self._outcomes.get(job.name, Outcome()) for job in self._jobs}

    def _stops(self) -> bool:
        """Whether a failure ends all."""
        return self._has_failed and not self._keeps_going

    def _is_over(self, job: Job) -> bool:
        """Whether a target is not to be begun: another failed that it needs, or any."""
        needed = (self._outcomes.get(other) for other in job.needs.values())
        return self._stops() or any(outcome is not None and outcome.result is None for outcome in needed)

    def _built_without_namespace(self, job: Job) -> bool:
        """Build a target, if that needs no namespace; False where it does."""
        if any(other not in self._outcomes for other in job.needs.values()):
            return False
        sink = self._sink_of(job, holds=True)
        try:
            self._keep(job, self._built(job, SharedSession(self._session), sink))
        except NamespaceNeededError:
            return False
        sink.release()
        return True

    def _keep(self, job: Job, outcome: Outcome) -> None:
        self._outcomes[job.name] = outcome
        self._has_failed = self._has_failed or outcome.error is not None

    def _sink_of(self, job: Job, *, holds: bool = False) -> TargetSink:
        return TargetSink(self._sink, self._numbers, job.name, holds=holds, is_over=lambda: self._ended)

    def _built(self, job: Job, session: Session, sink: Sink) -> Outcome:
        needed = {other: self._outcomes[other].result for other in job.needs.values()}
        results = {other: result for other, result in needed.items() if result is not None}
        try:
            options = job.options_with(results, is_needed=job.name in self._needed)
            return Outcome(result=build(options, session, sink))
        except TiffinError as exc:
            return Outcome(error=exc)

    def _build_side_by_side(self, jobs: Sequence[Job]) -> None:
        """Build what is left, as many targets at once as there are processors."""
        from tiffin.cache.foundation.workers import Workers

        self._session.isolate(next((job.options.isolation for job in jobs), None) or None)
        launcher = SharedLauncher.start()
        assert isinstance(launcher, SharedLauncher)
        workers = max(LEAST_AT_ONCE, os.cpu_count() or 1)
        if any(job.options.farm is not None for job in jobs):
            workers = FARM_AT_ONCE  # they wait for others
        try:
            with Workers(max_workers=workers, thread_name_prefix="target") as pool:
                try:
                    self._feed(list(jobs), pool, launcher)
                except BaseException:  # Ctrl-C: what runs must end before the pool does
                    self._end(launcher)
                    raise
        finally:
            launcher.end()
            self._session.leave_farm()

    def _feed(self, left: list[Job], pool: Executor, launcher: SharedLauncher) -> None:
        """Give the pool what can be built, until all is built or something failed that ends it."""
        session = SharedSession(self._session, launcher)
        ended: SimpleQueue[tuple[Job, Future[Outcome]]] = SimpleQueue()
        running = 0
        while True:
            ready = [job for job in left if not self._is_over(job) and self._has_all(job)]
            for job in ready:
                future = pool.submit(self._built, job, session, self._sink_of(job))
                future.add_done_callback(partial(_put, ended, job))
            begun = {job.name for job in ready}
            left = [job for job in left if job.name not in begun and not self._is_over(job)]
            running += len(ready)
            if not running:
                return
            job, future = take(ended)
            running -= 1
            self._take(job, future, launcher)

    def _has_all(self, job: Job) -> bool:
        return all(other in self._outcomes for other in job.needs.values())

    def _take(self, job: Job, future: Future[Outcome], launcher: SharedLauncher) -> None:
        outcome = future.result()
        if self._stops() and outcome.error is not None:
            outcome = Outcome()  # a mere consequence of the first failure
        self._keep(job, outcome)
        if self._stops():
            self._end(launcher)

    def _end(self, launcher: SharedLauncher) -> None:
        self._ended = True
        launcher.stop()


def _put(ended: SimpleQueue[tuple[Job, Future[Outcome]]], job: Job, future: Future[Outcome]) -> None:
    ended.put((job, future))
