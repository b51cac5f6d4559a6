"""What children of the adapter do: plan, make steps, run commands in them, look at their files."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from types import FrameType

from tiffin.builder.api.build import build, prepared
from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.dap.children import PAUSE, Paused, Teller
from tiffin.builder.api.dap.places import Planned
from tiffin.builder.api.session import Session
from tiffin.builder.api.steps.debug import DebugOptions, debug, debug_step
from tiffin.builder.api.steps.kept_steps import KeptStep
from tiffin.builder.api.steps.step_views import File, files_of_step
from tiffin.builder.events import Sink
from tiffin.builder.plan.plan import Plan
from tiffin.builder.solver.build import Request
from tiffin.builder.solver.results import StepObserver, layer_of
from tiffin.cache.backend import StepRecord, Tiered
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, replace

KNOWN = "session"  # the name of the cache of what this session made
Known = Mapping[Digest, StepRecord]


def plan(options: BuildOptions, session: Session, teller: Teller) -> Planned:
    """Plan a build. Raises TiffinError."""
    from tiffin.builder.plan.planner import make_plan

    with prepared(_bare(options), session, teller) as made:
        request = made.request
        planned = make_plan(request.dockerfile, request.plan_options, made.services.resolve_image)
        heads = [node.span for node in request.dockerfile.instructions if node.keyword == "FROM"]
        spans = (*heads, *(step.span for stage in planned.stages.values() for step in stage.steps))
        path = next((span.path for span in spans if span.path), "")
        return Planned(
            plan=planned, heads={index: heads[index] for index in planned.stages}, source=made.source, path=path
        )


def _bare(options: BuildOptions) -> BuildOptions:
    """Return options that make steps, and no image."""
    return replace(options, outputs=(), names=(), platforms=options.platforms[:1], sign=None)


class _Told(StepObserver):
    """Tells of each step that is known, and stops where that was asked for."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._pauses = False

    def pause(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal."""
        self._pauses = True

    def begun(self, request: Request, plan: Plan) -> StepObserver:
        """Take note of another plan."""
        return self

    def cached(self, index: int, number: int, record: StepRecord, source: str) -> None:
        self._teller.tell("made", (index, number, layer_of(record)))

    def ran(self, index: int, number: int, keys: Sequence[Digest], record: StepRecord, *, for_target: bool) -> None:
        self._teller.tell("made", (index, number, layer_of(record)))
        self._teller.tell("known", dict.fromkeys(keys, record))
        if self._pauses:
            raise Paused


class _KnownCache:
    """The steps that were made in this session."""

    name = KNOWN

    def __init__(self, known: Known) -> None:
        self._known = known

    def get_many(self, keys: Sequence[Digest]) -> Known:
        return {key: self._known[key] for key in keys if key in self._known}

    def put(self, key: Digest, record: StepRecord) -> None:
        return None


class _Written:
    """A cache that is written and not read."""

    def __init__(self, inner: Tiered) -> None:
        self._inner = inner
        self.name = inner.name

    def get_many(self, keys: Sequence[Digest]) -> Known:
        return {}

    def put(self, key: Digest, record: StepRecord) -> None:
        self._inner.put(key, record)


def advance(
    options: BuildOptions, stops: Sequence[tuple[int, int]], known: Known, session: Session, teller: Teller
) -> None:
    """Make steps: of each stage in `stops` as many as it says. Raises TiffinError, and Paused after a signal.

    What was made in this session (`known`) is not made again, whether or not caches are used.
    """
    from tiffin.builder.solver.build import build as solve

    told = _Told(teller)
    signal.signal(PAUSE, told.pause)
    with prepared(_bare(options), session, teller) as made:
        services, request = replace(made.services, keeper=told.begun, observers=(told,)), made.request
        if not options.use_cache or options.uncached_stages:
            services = replace(services, cache=Tiered([_KnownCache(known), _Written(services.cache)]))
            request = replace(request, use_cache=True, uncached_stages=frozenset())
        for stop in stops:
            solve(replace(request, until=stop), services)


def finish(options: BuildOptions, session: Session, teller: Teller) -> str:
    """Build all of it and write the outputs; return the id of the image."""
    return str(build(replace(options, use_cache=True, uncached_stages=frozenset()), session, teller).image_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where a command runs and files are looked at: in a step, before or after it, or in what a failed one left."""

    step: KeptStep
    before: bool = True
    failure: str = ""


def evaluate(state: State, asked: DebugOptions, session: Session, sink: Sink) -> int:
    """Run a command; what it writes goes to the streams of this process. Return its exit code. Raises TiffinError."""
    signal.signal(PAUSE, signal.SIG_DFL)  # as commands expect it
    if state.failure:
        result = debug(replace(asked, step=state.failure.partition("-")[2]), session, sink)
    else:
        result = debug_step(state.step, replace(asked, before=state.before), session, sink)
    if result.message:
        os.write(2, f"{result.message}\n".encode())
    return result.exit_code


def files(state: State, path: str, session: Session, teller: Teller) -> tuple[File, ...]:
    """Return what is in a directory, or the file itself with its content. Raises TiffinError."""
    step = replace(state.step, failure=state.failure)
    return files_of_step(step, state.before and not state.failure, path, session, teller)
