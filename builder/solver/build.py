"""One build from Dockerfile to image: plan, look up, execute what is missing, assemble.

Order matters: everything up to `enter` runs in a single-threaded process, because a process enters a user namespace
once and before it has threads. A build that has nothing to run never enters one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.builder.dockerfile.lint_base import LintWarning
from tiffin.builder.dockerfile.parser import Dockerfile
from tiffin.builder.errors import BuildError
from tiffin.builder.events import InfoMessage, Sink, WarningMessage, phase
from tiffin.builder.image.chain import Chain
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.instructions.ops import CopyOp, ImageOrigin, Op, RunOp, StageOrigin
from tiffin.builder.layer.compression.codecs import Compression
from tiffin.builder.oci.config import ImageConfig
from tiffin.builder.oci.spec import Manifest, Platform
from tiffin.builder.options import epoch_seconds
from tiffin.builder.plain_text import rfc3339
from tiffin.builder.plan.plan import Plan, StagePlan
from tiffin.builder.plan.plan_options import BaseImage, PlanOptions
from tiffin.builder.plan.planner import make_plan
from tiffin.builder.solver.checks import OVERRIDE, findings_of, violation
from tiffin.builder.solver.results import STEPS, assemble_config, assemble_manifest, ends_of_groups
from tiffin.builder.solver.solve import Solver, StepObserver
from tiffin.builder.solver.step_keys import StepKeys
from tiffin.builder.sources.context import Contexts
from tiffin.cache.backend import StepRecord, Tiered
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, field, replace
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.snapshots import BlobRef
from tiffin.cache.store.statedir import StateDir

if TYPE_CHECKING:
    from tiffin.builder.execute.run_mounts import MountPreparer
    from tiffin.builder.execute.ssh_agents import Agents
    from tiffin.builder.sandbox.isolation import Isolation
    from tiffin.builder.sandbox.launch import Launcher
    from tiffin.builder.solver.explain import Explainer
    from tiffin.builder.solver.materials import Material
    from tiffin.builder.solver.report import Report


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
    layering: str = STEPS  # what makes a layer: see grouping
    rewrites_times: bool = True  # whether the epoch also rules the times of files in new layers
    shares: frozenset[str] = frozenset()  # "min": give the records of the target, "max": those of all stages
    names_materials: bool = False  # for the provenance
    docker_types: bool = False  # Docker's media types instead of OCI's
    inline: Callable[[Mapping[Digest, StepRecord]], str] | None = (
        None  # makes the inline cache of the records of the image
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What a build works with.

    `enter` makes the process able to hold root directories, once, and says how far it is.
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
    observers: Sequence[StepObserver] = ()  # told of each step, while the build goes on
    keep: Callable[[str, bytes], None] | None = None  # small things by name, for later builds
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
    materials: tuple[Material, ...] = ()  # where they were asked for
    requested_keys: tuple[Digest, ...] = ()  # the keys that a builder with an empty cache asks for, in order


@dataclass(frozen=True, slots=True, kw_only=True)
class _Preflight:
    """A build before anything runs."""

    request: Request
    plan: Plan
    solver: Solver
    report: Report | None
    findings: tuple[LintWarning, ...]
    file_epoch: int | None


def build(request: Request, services: Services) -> Built:
    """Build; raises DockerfileError, BuildError, ContextError, SandboxError, RegistryError, StoreError."""
    looked = _look(request, services)
    request, plan, solver, sink = looked.request, looked.plan, looked.solver, services.sink
    chain = solver.cached_chain()
    if chain is not None:
        solver.announce_cached()
    else:
        with phase(sink, "execute"):
            chain = _execute(request, services, plan, solver, looked.file_epoch)
    with phase(sink, "assemble"):
        made = solver.results(all_stages=False) if request.inline is not None else {}
        built = _assemble(request, services, plan, chain, made)
    records = {mode: solver.results(all_stages=mode == "max") for mode in request.shares}
    return replace(
        built,
        findings=looked.findings,
        records=records,
        requested_keys=tuple(solver.requested_keys),
        report=looked.report,
        materials=_materials(request, plan, services),
    )


def _materials(request: Request, plan: Plan, services: Services) -> tuple[Material, ...]:
    if not request.names_materials:
        return ()
    from tiffin.builder.solver.materials import materials_of

    return materials_of(plan, services.contexts)


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
    observers, report = list(services.observers), None
    if services.explainer is not None:
        from tiffin.builder.solver.report import Report

        report = Report(plan, keys, services.explainer())
        observers.append(report)
    if services.keep is not None:
        observers.append(_Listings(keys, services.keep))
    solver = Solver(
        plan=plan,
        keys=keys,
        cache=services.cache,
        state=services.state,
        sink=sink,
        use_cache=request.use_cache,
        uncached_stages=request.uncached_stages,
        observers=observers,
    )
    with phase(sink, "keys and cache"):
        solver.look_up(services.layers.has)
        services.contexts.save()
    return _Preflight(request=request, plan=plan, solver=solver, report=report, findings=found, file_epoch=file_epoch)


class _Listings(StepObserver):
    """Keeps what the inputs of steps that ran held, so that a later build can name the file that changed."""

    def __init__(self, keys: StepKeys, keep: Callable[[str, bytes], None]) -> None:
        self._keys = keys
        self._keep = keep

    def ran(self, index: int, number: int, keys: Sequence[Digest], record: StepRecord, *, for_target: bool) -> None:
        from tiffin.builder.solver.explain import LISTING_PREFIX, MAX_LISTED, encode_listing

        for digest, listing in self._keys.listings(index, number, MAX_LISTED).items():
            self._keep(LISTING_PREFIX + digest, encode_listing(listing))


def _execute(request: Request, services: Services, plan: Plan, solver: Solver, epoch: int | None) -> Chain:
    from tiffin.builder.execute.executor import StepContext, StepExecutor
    from tiffin.builder.sandbox.tiers.none import NO_ISOLATION

    with ExitStack() as stack:
        runner = emulator = roots = None
        isolation = NO_ISOLATION
        pending = solver.pending()
        if any(isinstance(stage.steps[number].op, RunOp) for stage, number in pending):
            _check_platforms(pending)
            from tiffin.builder.execute.copied_roots import CopiedRoots
            from tiffin.builder.execute.emulation import Emulator
            from tiffin.builder.execute.run_step import Runner

            with phase(services.sink, "enter the user namespace"):
                isolation = services.enter()
                _check_isolation(pending, isolation)
                launcher = services.launch()
            stack.callback(launcher.close)
            for limit in isolation.limits():
                services.sink.emit(InfoMessage(message=f"isolation {isolation.tier}: {limit}"))
            runner = Runner(launcher, services.sink, isolation, services.state.filters)
            emulator = Emulator(isolation, services.layers, services.state, services.sink)
            if not isolation.overlay:
                roots = stack.enter_context(closing(CopiedRoots(services.state, services.layers)))
        elif _reads_trees(plan, pending):
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
            compression=request.compression if request.layering == STEPS else None,
            epoch=epoch,
        )
        executor = stack.enter_context(StepExecutor(step_context))
        return solver.solve(executor)


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


def _check_isolation(pending: Sequence[tuple[StagePlan, int]], isolation: Isolation) -> None:
    """Say before anything is made that no RUN can run here."""
    if isolation.tier.runs_commands:
        return
    first = next(stage.steps[number] for stage, number in pending if isinstance(stage.steps[number].op, RunOp))
    raise BuildError(
        f"RUN needs a sandbox, and this machine allows none ({isolation.refusal})",
        span=first.span,
        remedy=isolation.remedy,
    )


def _check_platforms(pending: Sequence[tuple[StagePlan, int]]) -> None:
    """Say before anything runs that this machine cannot run what a RUN of a foreign platform needs."""
    from tiffin.builder.sandbox.binfmt import can_run

    for stage, number in pending:
        step, platform = stage.steps[number], stage.platform
        if isinstance(step.op, RunOp) and not can_run(platform.architecture):
            raise BuildError(
                f"this machine cannot run programs for {platform}",
                span=step.span,
                remedy="register an interpreter with binfmt_misc (flag F; Debian: qemu-user-static), "
                "or use FROM --platform=$BUILDPLATFORM",
            )


def _reads_trees(plan: Plan, pending: list[tuple[StagePlan, int]]) -> bool:
    """Whether a pending COPY reads what RUN steps made, its source or the users of --chown: layers with foreign owners,
    which exist unpacked only.
    """

    def has_run(stage: StagePlan) -> bool:
        below = isinstance(stage.base, StageOrigin) and has_run(plan.stages[stage.base.index])
        return below or any(isinstance(step.op, RunOp) for step in stage.steps)

    def is_read(stage: StagePlan, op: Op) -> bool:
        if isinstance(op, CopyOp) and op.chown and has_run(stage):
            return True
        return any(isinstance(origin, StageOrigin) and has_run(plan.stages[origin.index]) for origin in op.origins())

    return any(is_read(stage, stage.steps[number].op) for stage, number in pending)


def lacks_blob(chain: Chain, layers: LayerStore) -> bool:
    """Whether a layer made here exists unpacked only, which is read from within the user namespace."""
    return any(not layer.base and not layers.has_blob(layer.diff_id) for layer in chain)


def _assemble(
    request: Request, services: Services, plan: Plan, chain: Chain, made: Mapping[Digest, StepRecord]
) -> Built:
    """Return the image; `made` are the records of its steps where it is to hold them."""
    stages = [plan.stages[plan.target]]
    while isinstance(stages[0].base, StageOrigin):
        stages.insert(0, plan.stages[stages[0].base.index])
    origin = stages[0].base
    ends = ends_of_groups(stages, request.layering)
    if not all(ends):
        from tiffin.builder.solver.grouping import grouped

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
    base = plan.images[origin.name].config if isinstance(origin, ImageOrigin) else None
    epoch = "" if request.epoch is None else rfc3339(request.epoch)
    config = assemble_config(
        stages, base, chain, ends, labels=request.plan_options.labels, now=rfc3339(time.time()), epoch=epoch
    )
    manifest: Manifest | None = None
    refs = _packed(chain, services, request.compression) if request.compression is not None else []
    if request.inline is not None and refs:
        config = replace(config, inline_cache=request.inline(_inlined(made, chain, refs, epoch)))
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
    )


def _packed(chain: Chain, services: Services, compression: Compression) -> list[BlobRef]:
    """Return a packed form of each layer, that of a base as it came."""
    if lacks_blob(chain, services.layers):
        services.enter()
    return [
        layer.blob if layer.base and layer.blob is not None else services.layers.ensure_blob(layer.diff_id, compression)
        for layer in chain
    ]


def _inlined(
    made: Mapping[Digest, StepRecord], chain: Chain, refs: Sequence[BlobRef], epoch: str
) -> dict[Digest, StepRecord]:
    """Return the records of steps whose layers the image has, without what differs from one machine to another."""
    packed = {layer.diff_id: ref for layer, ref in zip(chain, refs, strict=True)}
    return {
        key: replace(record, layer=packed[record.diff_id], parts=(), seconds=0.0, created=epoch or record.created)
        for key, record in made.items()
        if record.diff_id in packed
    }
