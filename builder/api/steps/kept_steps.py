"""A step of a build that ran: found by what progress calls it, and opened over the layers that it had there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.builder.api.buildx.history import History
from tiffin.builder.api.buildx.recorder import PLANS, BuildRecord
from tiffin.builder.api.session import Session
from tiffin.builder.api.steps.plans import KeptPlan, Made, made_by, read
from tiffin.builder.errors import ContextError, ImageNotFoundError, NotFoundError, TiffinError, UsageError
from tiffin.builder.events import Sink, WarningMessage
from tiffin.builder.execute.steps import StepTask
from tiffin.builder.image.chain import Chain
from tiffin.builder.instructions.base import DEFAULT_SHELL, Step
from tiffin.builder.instructions.ops import (
    BindMount,
    CacheMount,
    ContextOrigin,
    GitOrigin,
    ImageOrigin,
    Origin,
    RunDefaults,
    RunMount,
    RunOp,
    SecretMount,
    SshMount,
    StageOrigin,
    UrlOrigin,
)
from tiffin.builder.plan.plan import Plan, StagePlan
from tiffin.builder.report.steps import ERROR, steps_of
from tiffin.builder.sandbox.child.spec import SandboxSpec
from tiffin.builder.settings.access import RegistryAccess
from tiffin.builder.solver.results import base_chain
from tiffin.cache.foundation.frozen import dataclass, replace

if TYPE_CHECKING:
    from tiffin.builder.api.build_options import BuildOptions
    from tiffin.builder.execute.executor import StepContext
    from tiffin.builder.sandbox.isolation import Isolation
    from tiffin.builder.sources.context import Contexts

STDIN = "-"  # as a context
_PLACE = re.compile(r"(.*):([0-9]+)")  # FILE:LINE


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptStep:
    """A step of a plan, by stage and number. `made`: the layers that are known; `failure`: the folder of what it left
    where it failed, "" where nothing is kept.
    """

    kept: KeptPlan
    index: int
    number: int
    made: Made
    failed: bool = False
    failure: str = ""

    @property
    def stage(self) -> StagePlan:
        """Return its stage."""
        return self.kept.plan.stages[self.index]

    @property
    def step(self) -> Step:
        """Return what it does."""
        return self.stage.steps[self.number]

    @property
    def label(self) -> str:
        """Return what progress calls it."""
        return self.stage.label(self.number)

    def chain(self, *, after: bool) -> Chain:
        """Return the layers before it, or with its own. Raises NotFoundError where the build did not make them."""
        return chain_of_stage(self.kept.plan, self.made, self.index, self.number + after)


def chain_of_stage(plan: Plan, made: Made, index: int, count: int) -> Chain:
    """Return the layers of a stage up to its first `count` steps. Raises NotFoundError where they are not known."""
    stage = plan.stages[index]
    chain: Chain = ()
    if isinstance(stage.base, StageOrigin):
        chain = chain_of_stage(plan, made, stage.base.index, len(plan.stages[stage.base.index].steps))
    elif isinstance(stage.base, ImageOrigin):
        chain = base_chain(plan.images[stage.base.name])
    for number in range(count):
        layer = made.get((index, number))
        if layer is None:
            raise NotFoundError(
                f"{stage.label(number)} was not made in that build",
                remedy="tiffin debug --list shows those that were",
            )
        chain = (*chain, layer)
    return chain


def find_record(session: Session, text: str) -> BuildRecord:
    """Return the build of a reference, an id, ^N, "" for the last one, or the last that made an image. Raises
    NotFoundError.
    """
    history = History(session)
    if text and not text.startswith("^"):
        try:
            image = session.store.find(text)
        except (ImageNotFoundError, TiffinError):
            return history.find(text)
        digests = {str(image.id), str(image.descriptor.digest)}
        names = {str(name) for name in image.names}
        found = [record for record in history.records() if record.digest in digests]
        if not found:  # a list of several platforms has another digest
            found = [record for record in history.records() if names & set(record.names) and len(record.plans) > 1]
        if not found:
            raise NotFoundError(
                f"no build that is kept made {text}", remedy="see tiffin buildx history ls; build again"
            )
        return found[0]
    return history.find(text)


def steps_of_build(session: Session, record: BuildRecord) -> Iterator[tuple[str, KeptStep]]:
    """Yield the steps of a build, each after its number in the progress, "" where it had none there. Raises
    NotFoundError, CorruptError.
    """
    if not record.plans:
        raise NotFoundError(f"the steps of build {record.id} are not kept", remedy="build again")
    runs = {run.name: run for run in steps_of(History(session).events(record.id))}
    for position, document in enumerate(record.plans):
        kept, made = read(session.state.root / PLANS / str(document["plan"]), record.id), made_by(document, record.id)
        platform = kept.options.platforms[position] if len(record.plans) > 1 else None
        places = [(index, n) for index in sorted(kept.plan.stages) for n in range(len(kept.plan.stages[index].steps))]
        for step_id, (index, number) in enumerate(places, 1):
            label = kept.plan.stages[index].label(number)
            run = runs.get(f"[{platform} {label[1:]}" if platform else label)
            failed = run is not None and run.status == ERROR
            yield (
                str(run.id) if run else "" if platform else str(step_id),
                KeptStep(
                    kept=kept,
                    index=index,
                    number=number,
                    made=made,
                    failed=failed,
                    failure=record.failure if failed else "",
                ),
            )


def find_step(session: Session, build: str, text: str) -> KeptStep:
    """Return a step of a build, by its number (7 or #7), FILE:LINE, or what progress calls it ("build 2/5"); "" is the
    one that failed, or the last. Raises NotFoundError.
    """
    record = find_record(session, build)
    steps = list(steps_of_build(session, record))
    if not text and steps:
        failed = [step for _, step in steps if step.failed]
        reached = [step for _, step in steps if (step.index, step.number) in step.made]
        return (failed or reached[-1:] or [steps[-1][1]])[0]
    wanted = text.strip().removeprefix("#")
    found = [step for number, step in steps if number == wanted] or [
        step for _, step in steps if _is_called(step, wanted)
    ]
    if len({(id(step.kept), step.index, step.number) for step in found}) != 1:
        what = "several steps are" if found else "no step is"
        raise NotFoundError(
            f'{what} called "{text}" in build {record.id}', remedy=f"see tiffin debug --list --build {record.id}"
        )
    return found[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class EditedBuild:
    """A build that is to be made again from another Dockerfile: which file that is, and the line to look at."""

    options: BuildOptions
    folder: str
    file: str
    line: int


def to_edit(session: Session, build: str) -> EditedBuild:
    """Return what is edited to go on with a build: from the step that failed, or the last. Raises NotFoundError,
    UsageError where its Dockerfile is no file of this machine.
    """
    step = find_step(session, build, "")
    span, options = step.step.span, step.kept.options
    if not span.path or options.dockerfile is not None:
        raise UsageError(
            f"the Dockerfile of this build is no file of this machine ({span.file})", remedy="edit it where it is"
        )
    return EditedBuild(options=options, folder=step.kept.folder, file=span.path, line=span.first_line)


def _is_called(step: KeptStep, text: str) -> bool:
    place = _PLACE.fullmatch(text)
    span = step.step.span
    if place is not None:
        return place[1] in ("", span.file) and span.first_line <= int(place[2]) <= span.last_line
    name = step.label.partition("]")[0].removeprefix("[")  # as in "build 2/5"
    return text in (name, name.rpartition(" ")[2], step.label)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How a step is opened: `after` it or before, with which secrets and ssh agents given again."""

    after: bool
    secrets: Mapping[str, bytes]
    ssh: tuple[str, ...] = ()
    registry: RegistryAccess = RegistryAccess()


@contextmanager
def opened(
    step: KeptStep, opening: Opening, isolation: Isolation, scratch: Path, session: Session, sink: Sink
) -> Iterator[SandboxSpec]:
    """Yield the sandbox of a step, as it was before or after it. Raises NotFoundError for layers that are gone."""
    from tiffin.builder.execute.debugging.opened_step import StepOpener

    chain = step.chain(after=opening.after)
    op, sources = _command(step, opening, sink)
    stage = replace(step.stage, steps=tuple(replace(step.step, op=op) for _ in step.stage.steps))
    task = StepTask(
        stage=stage,
        number=step.number,
        chain=chain,
        step_id=0,
        needs_tree=False,
        for_target=False,
        sources=sources,
    )
    with ExitStack() as stack:
        contexts, op = _contexts(step, op, session, sink, stack)
        task = replace(task, stage=replace(stage, steps=tuple(replace(step.step, op=op) for _ in stage.steps)))
        context = _step_context(step, opening, isolation, contexts, session, sink, stack)
        opener = StepOpener(context)
        stack.enter_context(opener)
        yield stack.enter_context(opener.opened(task, scratch))


def _command(step: KeptStep, opening: Opening, sink: Sink) -> tuple[RunOp, dict[Origin, Chain]]:
    """Return the RUN to open, which is the step's own if it is one, and the layers that its mounts show."""
    op = step.step.op
    if not isinstance(op, RunOp):
        config = step.step.config
        cwd = config.working_dir or "/"
        shell = RunOp(
            argv=(*(config.shell or DEFAULT_SHELL), ""),
            env=step.step.env,
            cwd=cwd if cwd.startswith("/") else f"/{cwd}",
            user=config.user,
            network="host",
            run_defaults=_defaults(step.kept.plan),
        )
        return shell, {}
    sources: dict[Origin, Chain] = {}
    mounts: list[RunMount] = []
    for mount in op.mounts:
        found, reason = _mount(mount, step, opening, sources)
        if reason:
            sink.emit(WarningMessage(message=reason))
        if found is not None:
            mounts.append(found)
    return replace(op, mounts=tuple(mounts)), sources


def _mount(
    mount: RunMount, step: KeptStep, opening: Opening, sources: dict[Origin, Chain]
) -> tuple[RunMount | None, str]:
    """Return a mount as it is for another command, None for none, and what to say of it; add what it shows."""
    match mount:
        case SecretMount() if mount.id not in opening.secrets:
            reason = f"secret {mount.id} is not there: give it again with --secret id={mount.id},…"
            return replace(mount, required=False, target="", env=""), reason
        case SshMount() if not opening.ssh:
            reason = f"the ssh agent {mount.id} is not there: give it again with --ssh {mount.id}"
            return replace(mount, required=False), reason
        case CacheMount():
            mount = replace(mount, sharing="shared")  # an open shell keeps no build waiting
        case _:
            pass
    if not isinstance(mount, (BindMount, CacheMount)) or mount.origin is None:
        return mount, ""
    try:
        _add_source(sources, mount.origin, step)
    except NotFoundError:
        if isinstance(mount, CacheMount):
            return replace(mount, origin=None), ""
        return None, f"what the step had at {mount.target} was not made in that build, and so is not mounted"
    return mount, ""


def _add_source(sources: dict[Origin, Chain], origin: Origin, step: KeptStep) -> None:
    plan = step.kept.plan
    if isinstance(origin, StageOrigin):
        sources[origin] = chain_of_stage(plan, step.made, origin.index, len(plan.stages[origin.index].steps))
    elif isinstance(origin, ImageOrigin):
        sources[origin] = base_chain(plan.images[origin.name])


def _defaults(plan: Plan) -> RunDefaults:
    """Return what was said of every RUN, as far as a RUN of the plan tells."""
    ops = (step.op for stage in plan.stages.values() for step in stage.steps)
    return next((op.run_defaults for op in ops if isinstance(op, RunOp)), RunDefaults())


def _contexts(step: KeptStep, op: RunOp, session: Session, sink: Sink, stack: ExitStack) -> tuple[Contexts, RunOp]:
    """Return what the step may read from outside, as it is now; without the mounts of what is not there any more."""
    from tiffin.builder.api.build import prepared
    from tiffin.builder.sources.context import Contexts

    outside = [
        mount
        for mount in op.mounts
        if isinstance(mount, BindMount) and isinstance(mount.origin, (ContextOrigin, GitOrigin, UrlOrigin))
    ]
    if outside:
        try:
            if step.kept.options.context == STDIN:
                raise ContextError("it came through stdin", remedy="give a directory")
            os.chdir(step.kept.folder)
            return stack.enter_context(prepared(step.kept.options, session, sink)).services.contexts, op
        except (OSError, TiffinError) as exc:
            for mount in outside:
                text = f"what the step had at {mount.target} is not there any more, and so not mounted ({exc})"
                sink.emit(WarningMessage(message=text))
            op = replace(op, mounts=tuple(mount for mount in op.mounts if mount not in outside))

    def nothing() -> None:
        raise AssertionError("nothing outside is read")

    return Contexts(None, {}, dockerfile=None, table=session.table, remote=nothing, state=session.state.root), op  # type: ignore[arg-type]


def _step_context(
    step: KeptStep,
    opening: Opening,
    isolation: Isolation,
    contexts: Contexts,
    session: Session,
    sink: Sink,
    stack: ExitStack,
) -> StepContext:
    """Return what opens the step. Nothing runs through the runner: it only says what the sandbox is."""
    from tiffin.builder.api.inputs.build_request import agents_of
    from tiffin.builder.execute.copied_roots import CopiedRoots
    from tiffin.builder.execute.emulation import Emulator
    from tiffin.builder.execute.executor import StepContext
    from tiffin.builder.execute.run_mounts import MountPreparer
    from tiffin.builder.execute.run_step import Runner
    from tiffin.builder.execute.ssh_agents import Agents

    layers = session.layers(lambda: session.remote(sink, opening.registry))
    layers.use_trees(isolation.idmap_tag)
    return StepContext(
        state=session.state,
        blobs=session.blobs,
        layers=layers,
        contexts=contexts,
        sink=sink,
        runner=Runner(session.launch_one(), sink, isolation, session.state.filters),
        emulator=Emulator(isolation, layers, session.state, sink),
        roots=None if isolation.overlay else stack.enter_context(closing(CopiedRoots(session.state, layers))),
        mounts=MountPreparer(
            state=session.state,
            layers=layers,
            contexts=contexts,
            secrets=opening.secrets,
            agents=agents_of(opening.ssh) if opening.ssh else Agents({}),
            isolation=isolation,
            fill_cache=lambda mount_id, path: False,
        ),
        compression=None,
        epoch=None,
    )
