"""One build from Dockerfile to image: plan, look up, execute what is missing, assemble.

Order matters: everything up to `enter` runs in a single-threaded process, because a process enters a user namespace
once and before it has threads. A build that has nothing to run never enters one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.builder.dockerfile.lint_base import LintWarning
from tiffin.builder.dockerfile.parser import Dockerfile
from tiffin.builder.errors import BuildError
from tiffin.builder.events import InfoMessage, Sink, WarningMessage, phase
from tiffin.builder.image.chain import Chain
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.instructions.ops import ImageOrigin, RunOp
from tiffin.builder.layer.compression.codecs import Compression
from tiffin.builder.oci.config import ImageConfig
from tiffin.builder.oci.spec import Manifest, Platform
from tiffin.builder.options import epoch_seconds
from tiffin.builder.plain_text import rfc3339
from tiffin.builder.plan.plan import Plan, StagePlan
from tiffin.builder.plan.plan_options import BaseImage, PlanOptions
from tiffin.builder.plan.planner import make_plan
from tiffin.builder.solver.checks import OVERRIDE, findings_of, violation
from tiffin.builder.solver.results import (
    STEPS,
    Listings,
    StepObserver,
    assemble_config,
    assemble_manifest,
    ends_of_groups,
    inlined,
    lines_of,
)
from tiffin.builder.solver.solve import Solver
from tiffin.builder.solver.step_keys import StepKeys
from tiffin.builder.sources.context import Contexts
from tiffin.cache.backend import StepRecord, Tiered
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, field, replace
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.snapshots import BlobRef
from tiffin.cache.store.statedir import StateDir

if TYPE_CHECKING:
    from tiffin.builder.egress.way_out import WayOut
    from tiffin.builder.execute.run_mounts import MountPreparer
    from tiffin.builder.execute.ssh_agents import Agents
    from tiffin.builder.sandbox.isolation import Isolation
    from tiffin.builder.sandbox.launch import Launcher
    from tiffin.builder.solver.explain import Explainer
    from tiffin.builder.solver.report import Report
    from tiffin.builder.solver.results import Elsewhere, Split
    from tiffin.builder.solver.trace import StepTrace, Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to build. `compression` None: no packed layers are wanted (output is a directory, a tar, or nothing)."""

    dockerfile: Dockerfile
    plan_options: PlanOptions
    compression: Compression | None
    epoch: int | None = None
    use_cache: bool = True
    uncached_stages: frozenset[str] = frozenset()  # names of stages whose RUN, COPY and ADD are made again
    annotations: Mapping[str, str] = field(default_factory=dict)
    frozen: bool = False  # every step must come from a cache
    layering: str = STEPS  # what makes a layer: see layering.grouping
    split: Split | None = None  # a layer becomes several: see layering.splitting
    rewrites_times: bool = True  # whether the epoch also rules the times of files in new layers
    until: tuple[int, int] | None = None  # a stage, and how many of its steps: nothing more is built
    shares: frozenset[str] = frozenset()  # "min": give the records of the target, "max": those of all stages
    traces: bool = False  # what came in, and where each result came from: for attestations
    docker_types: bool = False  # Docker's media types instead of OCI's
    inline: Callable[[Mapping[Digest, StepRecord]], str] | None = None  # makes the inline cache of the records

    @property
    def step_compression(self) -> Compression | None:
        """How the layers of steps are packed, None where other layers are made of them."""
        return self.compression if self.layering == STEPS and self.split is None else None


# plan, the steps that may have to run, compression and epoch, to what makes steps on other machines
MakeElsewhere = Callable[["Plan", "Sequence[tuple[StagePlan, int]]", "Compression | None", "int | None"], "Elsewhere"]

Keeper = Callable[["Request", "Plan"], StepObserver]  # gives what keeps the steps of a plan for `tiffin debug`


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What a build works with. `enter` makes the process able to hold root directories, once, and says how far it is.
    `beside` opens what goes on beside the steps, and is told of the unpacked layers that RUN of the image goes over.
    """

    state: StateDir
    blobs: BlobStore
    layers: LayerStore
    cache: Tiered
    contexts: Contexts
    sink: Sink
    resolve_image: Callable[[str, Platform], BaseImage]
    enter: Callable[[], Isolation]
    launch: Callable[[], Launcher]  # starts what runs commands, while there is one thread
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    fill_cache: Callable[[str, Path], bool] = lambda mount_id, path: False  # of a new cache mount: see MountPreparer
    agents: Agents | None = None
    way_out: WayOut | None = None  # the only one of RUN
    observers: Sequence[StepObserver] = ()  # told of each step, while the build goes on
    beside: Callable[[], AbstractContextManager[Callable[[Chain], object]]] = lambda: nullcontext(lambda chain: None)
    keep: Callable[[str, bytes], None] | None = None  # small things by name, for later builds
    kept: Callable[[str], bytes | None] = lambda name: None  # those that were kept
    keeper: Keeper | None = None
    idle: Callable[[], object] = lambda: None  # called once a RUN has begun: this process then only waits for it
    elsewhere: MakeElsewhere | None = None
    explainer: Callable[[], Explainer] | None = None  # made before anything runs; the result then has an explanation


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A finished build. `manifest` None where no packed layers were wanted."""

    config: ImageConfig
    config_bytes: bytes
    manifest: Manifest | None
    manifest_bytes: bytes
    chain: Chain
    layer_refs: tuple[BlobRef, ...] = ()  # the packed layers of the manifest
    findings: tuple[LintWarning, ...] = ()  # of build checks
    records: Mapping[str, Mapping[Digest, StepRecord]] = field(default_factory=dict)  # by mode of Request.shares
    report: Report | None = None  # where services had an explainer
    trace: Trace | None = None  # where it was asked for
    requested_keys: tuple[Digest, ...] = ()  # the keys that a builder with an empty cache asks for, in order
    lines: bytes = b""  # where in the Dockerfile its layers are made: see lines_of


@dataclass(frozen=True, slots=True, kw_only=True)
class _Preflight:
    """A build before anything runs."""

    request: Request
    plan: Plan
    solver: Solver
    report: Report | None
    trace: StepTrace | None
    findings: tuple[LintWarning, ...]
    file_epoch: int | None


def build(request: Request, services: Services) -> Built:
    """Build; raises DockerfileError, BuildError, ContextError, SandboxError, RegistryError, StoreError."""
    looked = _look(request, services)
    request, plan, solver, sink = looked.request, looked.plan, looked.solver, services.sink
    chain, isolation = solver.cached_chain(), ""
    if chain is not None:
        solver.announce_cached()
    else:
        with phase(sink, "execute"):
            chain, isolation = _execute(request, services, plan, solver, looked.file_epoch)
    with phase(sink, "assemble"):
        made = solver.results(all_stages=False) if request.inline is not None else {}
        built = _assemble(request, services, plan, chain, made)
    records = {mode: solver.results(all_stages=mode == "max", by_reads=True) for mode in request.shares}
    return replace(
        built,
        findings=looked.findings,
        records=records,
        requested_keys=tuple(solver.requested_keys),
        report=looked.report,
        trace=looked.trace.ended(plan.lineage(), services.contexts, isolation) if looked.trace is not None else None,
    )


def forecast(request: Request, services: Services) -> Report:
    """Return what a build would do, as far as that is known before anything runs; `services` has an explainer."""
    looked = _look(request, services)
    assert looked.report is not None
    looked.report.forecast(looked.solver)
    return looked.report


def _look(request: Request, services: Services) -> _Preflight:
    sink = services.sink
    with phase(sink, "plan"):
        plan = make_plan(request.dockerfile, request.plan_options, services.resolve_image)
        plan = plan.up_to(*request.until) if request.until is not None else plan
    for name in plan.unused_build_args:
        sink.emit(WarningMessage(message=f"--build-arg {name} is not used by any ARG of the stages built"))
    if request.epoch is None and plan.epoch:
        request = replace(request, epoch=_epoch_of(plan))
    options, found = findings_of(
        request.dockerfile, plan.findings, plan, services.contexts, request.plan_options.build_args.get(OVERRIDE)
    )
    if options.error and found:
        raise violation(found)
    file_epoch = request.epoch if request.rewrites_times else None
    keys = StepKeys(plan, services.contexts, epoch=file_epoch)
    report, trace = _report(plan, keys, services), _trace(plan, keys, request, file_epoch)
    keeper = services.keeper(request, plan) if services.keeper is not None else None
    listings = Listings(keys, services.keep) if services.keep is not None else None
    solver = Solver(
        plan=plan,
        keys=keys,
        cache=services.cache,
        state=services.state,
        sink=sink,
        use_cache=request.use_cache,
        uncached_stages=request.uncached_stages,
        frozen=request.frozen,
        observers=[*services.observers, *(watch for watch in (report, trace, listings, keeper) if watch is not None)],
    )
    with phase(sink, "keys and cache"):
        solver.look_up(services.layers.has)
        if keeper is not None:
            for hit in solver.hits():
                keeper.cached(*hit)
        services.contexts.save()
    return _Preflight(
        request=request,
        plan=plan,
        solver=solver,
        report=report,
        trace=trace,
        findings=found,
        file_epoch=file_epoch,
    )


def _report(plan: Plan, keys: StepKeys, services: Services) -> Report | None:
    if services.explainer is None:
        return None
    from tiffin.builder.solver.report import Report

    return Report(plan, keys, services.explainer())


def _trace(plan: Plan, keys: StepKeys, request: Request, file_epoch: int | None) -> StepTrace | None:
    if not request.traces:
        return None
    from tiffin.builder.solver.trace import StepTrace

    return StepTrace(plan, keys, is_reproducible=file_epoch is not None)


def _execute(request: Request, services: Services, plan: Plan, solver: Solver, epoch: int | None) -> tuple[Chain, str]:
    """Return the layers, and the name of the tier in which commands ran, "" for none."""
    from tiffin.builder.execute.executor import StepContext, StepExecutor
    from tiffin.builder.sandbox.tiers.none import NO_ISOLATION
    from tiffin.builder.solver.pending import check_isolation, check_platforms, planned, reads_trees

    with ExitStack() as stack:
        runner = emulator = roots = elsewhere = None
        isolation = NO_ISOLATION
        services.sink.emit(planned(plan, pending := solver.pending()))
        if services.elsewhere is not None and not request.frozen:
            elsewhere = _elsewhere(request, services, plan, solver, epoch)
        elif not request.frozen and any(isinstance(stage.steps[number].op, RunOp) for stage, number in pending):
            check_platforms(pending)
            from tiffin.builder.execute.copied_roots import CopiedRoots
            from tiffin.builder.execute.emulation import Emulator
            from tiffin.builder.execute.run_step import Runner

            with phase(services.sink, "enter the user namespace"):
                isolation = services.enter()
                check_isolation(pending, isolation, has_way_out=services.way_out is not None)
                launcher = stack.enter_context(closing(services.launch()))
            _tell_limits(isolation, services.sink)
            runner = Runner(launcher, services.sink, isolation, services.state.filters, services.way_out, services.idle)
            emulator = Emulator(isolation, services.layers, services.state, services.sink)
            if not isolation.overlay:
                roots = stack.enter_context(closing(CopiedRoots(services.state, services.layers)))
        elif reads_trees(plan, pending):
            isolation = services.enter()
        step_context = StepContext(
            state=services.state,
            blobs=services.blobs,
            layers=services.layers,
            contexts=services.contexts,
            sink=services.sink,
            runner=runner,
            emulator=emulator,
            roots=roots,
            mounts=_mount_preparer(services, isolation),
            compression=request.step_compression,
            epoch=epoch,
            unpacked=stack.enter_context(services.beside()),
        )
        executor = stack.enter_context(StepExecutor(step_context))
        return solver.solve(executor, elsewhere), isolation.tier.name if runner is not None else ""


def _tell_limits(isolation: Isolation, sink: Sink) -> None:
    for limit in isolation.limits():
        sink.emit(InfoMessage(message=f"isolation {isolation.tier}: {limit}"))


def _elsewhere(request: Request, services: Services, plan: Plan, solver: Solver, epoch: int | None) -> Elsewhere:
    """Return what makes steps on other machines, which have to have the layers that are here."""
    assert services.elsewhere is not None
    packs_here = any(
        not layer.base and not services.layers.has_blob(layer.diff_id) for layer in solver.layers_at_hand()
    )
    if packs_here or request.layering != STEPS:
        services.enter()  # while there is one thread
    return services.elsewhere(plan, solver.pending(), request.step_compression, epoch)


def _mount_preparer(services: Services, isolation: Isolation) -> MountPreparer:
    from tiffin.builder.execute.run_mounts import MountPreparer
    from tiffin.builder.execute.ssh_agents import Agents

    return MountPreparer(
        state=services.state,
        layers=services.layers,
        contexts=services.contexts,
        secrets=services.secrets,
        agents=services.agents or Agents({}),
        fill_cache=services.fill_cache,
        isolation=isolation,
    )


def _epoch_of(plan: Plan) -> int | None:
    """Return SOURCE_DATE_EPOCH as an ARG before the first FROM gives it."""
    try:
        return epoch_seconds(plan.epoch)
    except ValueError as exc:
        raise BuildError(
            f'ARG SOURCE_DATE_EPOCH: "{plan.epoch}" is not a valid time', remedy="give whole seconds since 1970"
        ) from exc


def lacks_blob(chain: Chain, layers: LayerStore) -> bool:
    """Whether a layer made here exists unpacked only, which is read from within the user namespace."""
    return any(not layer.base and not layers.has_blob(layer.diff_id) for layer in chain)


def _assemble(
    request: Request, services: Services, plan: Plan, chain: Chain, made: Mapping[Digest, StepRecord]
) -> Built:
    """Return the image; `made` are the records of its steps where it is to hold them."""
    stages = plan.lineage()
    origin = stages[0].base
    ends = ends_of_groups(stages, request.layering)
    if not all(ends):
        from tiffin.builder.solver.layering.grouping import grouped

        chain = grouped(
            chain,
            ends,
            cache=services.cache,
            layers=services.layers,
            blobs=services.blobs,
            state=services.state,
            compression=request.compression,
            enter=services.enter,
        )
    if request.split is not None and request.compression is not None:
        from tiffin.builder.solver.layering.splitting import Splitter

        chain, ends = Splitter(request.split, request.compression, services).split(chain, ends)
    base = plan.images[origin.name].config if isinstance(origin, ImageOrigin) else None
    epoch = "" if request.epoch is None else rfc3339(request.epoch)
    config = assemble_config(
        stages, base, chain, ends, labels=request.plan_options.labels, now=rfc3339(time.time()), epoch=epoch
    )
    manifest: Manifest | None = None
    refs = _packed(chain, services, request.compression) if request.compression is not None else []
    if request.inline is not None and refs:
        config = replace(config, inline_cache=request.inline(inlined(made, chain, refs, epoch)))
    config_bytes = config.encode()
    if request.compression is not None:
        manifest = assemble_manifest(config_bytes, refs, annotations=request.annotations, docker=request.docker_types)
    return Built(
        config=config,
        config_bytes=config_bytes,
        manifest=manifest,
        manifest_bytes=manifest.encode() if manifest else b"",
        chain=chain,
        layer_refs=tuple(refs),
        lines=lines_of(stages, ends, plan.images[origin.name] if isinstance(origin, ImageOrigin) else None),
    )


def _packed(chain: Chain, services: Services, compression: Compression) -> list[BlobRef]:
    """Return a packed form of each layer, that of a base as it came."""
    if lacks_blob(chain, services.layers):
        services.enter()
    return [
        layer.blob if layer.base and layer.blob is not None else services.layers.ensure_blob(layer.diff_id, compression)
        for layer in chain
    ]
