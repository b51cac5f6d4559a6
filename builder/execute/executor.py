"""Make the layer of one step: gather what it reads, let it work, pack what changed, keep it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path

from tiffin.builder.containers.rootfs import RootView
from tiffin.builder.errors import RunError, SandboxError, StoreError
from tiffin.builder.events import Sink, phase
from tiffin.builder.execute.copied_roots import CopiedRoot, CopiedRoots
from tiffin.builder.execute.copy_step import (
    Clock,
    SourceGroup,
    copy_changes,
    workdir_changes,
    written_below,
)
from tiffin.builder.execute.emulation import Emulation, Emulator, UnexpectedOwners, refusal
from tiffin.builder.execute.run_mounts import MountPreparer, PreparedMounts
from tiffin.builder.execute.run_step import ROOT_MODE, Runner, RunRequest
from tiffin.builder.execute.steps import Executor, StepResult, StepTask
from tiffin.builder.image.chain import Chain, LayerRef
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.instructions.ops import CopyOp, ImageOrigin, RunOp, StageOrigin, WorkdirOp, stands_alone
from tiffin.builder.layer.below import TablesBelow, TreesBelow
from tiffin.builder.layer.change import Change, each
from tiffin.builder.layer.compression.codecs import Compression
from tiffin.builder.layer.demands import demands_of
from tiffin.builder.layer.disk.diff import diff_upper
from tiffin.builder.layer.disk.root_scan import diff_scans, drop_unused, scan
from tiffin.builder.layer.disk.settle import set_times, settle
from tiffin.builder.layer.index import LayerIndex
from tiffin.builder.layer.pack import pack_layer
from tiffin.builder.layer.unchanged import reduced
from tiffin.builder.layer.unpack import materialize
from tiffin.builder.oci.spec import chain_id
from tiffin.builder.plain_text import rfc3339
from tiffin.builder.sandbox.child.spec import SandboxSpec
from tiffin.builder.sandbox.launch import StepAbandoned
from tiffin.builder.sandbox.mount_substitutes import MountSubstitutes
from tiffin.builder.sources.context import Contexts
from tiffin.builder.sources.layer_files import Members
from tiffin.builder.sources.selection import at_step, content_of, select_for
from tiffin.builder.sources.trees import LayerTree, SourceTree
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.statedir import StateDir

if TYPE_CHECKING:
    from tiffin.builder.execute.reads import ReadsOfLayers, ReadsWatch

NANOSECONDS = 1_000_000_000
UNCOMPRESSED = Compression(kind="none")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContext:
    """What executing needs. `runner` is None where no RUN is planned; `compression` None where no blob is wanted."""

    state: StateDir
    blobs: BlobStore
    layers: LayerStore
    contexts: Contexts
    sink: Sink
    runner: Runner | None
    emulator: Emulator | None  # where there is a runner
    roots: CopiedRoots | None  # where layers cannot be mounted over each other
    mounts: MountPreparer
    compression: Compression | None
    epoch: int | None
    unpacked: Callable[[Chain], object] = lambda chain: None  # told of layers that a RUN of the image goes over
    others: Compression | None = None  # how layers that are not for the target are packed, None for not at all


@dataclass(frozen=True, slots=True, kw_only=True)
class _EmulatedStores:
    """What serves steps with emulated owners where others have true ones."""

    layers: LayerStore
    mounts: MountPreparer
    roots: CopiedRoots | None


@contextmanager
def _open_emulated(step_context: StepContext) -> Iterator[_EmulatedStores]:
    layers = step_context.layers.emulated(step_context.mounts.isolation.emulated_idmap_tag)
    mounts = replace(step_context.mounts, layers=layers, fill_cache=lambda mount_id, path: False)
    with ExitStack() as stack:
        roots = step_context.roots and stack.enter_context(closing(CopiedRoots(step_context.state, layers)))
        yield _EmulatedStores(layers=layers, mounts=mounts, roots=roots)


class StepExecutor(Executor, AbstractContextManager["StepExecutor"]):
    """Executes steps in any number of threads. Used as a context manager: it holds a scratch directory."""

    def __init__(self, step_context: StepContext) -> None:
        self._step_context = step_context
        self._stack = ExitStack()
        self._members: Members | None = None
        self._emulated: _EmulatedStores | None = None

    def __enter__(self) -> StepExecutor:
        step_context = self._step_context
        if step_context.emulator is not None and step_context.emulator.is_at_hand:
            self._emulated = self._stack.enter_context(_open_emulated(step_context))
        scratch = self._stack.enter_context(step_context.state.scratch("members"))
        self._members = self._stack.enter_context(Members(self._step_context.layers, scratch))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def has(self, diff_id: Digest) -> bool:
        return self._step_context.layers.has(diff_id)

    def stop(self) -> None:
        if self._step_context.runner is not None:
            self._step_context.runner.stop()

    def copied(self, task: StepTask) -> Mapping[str, str]:
        step = task.stage.steps[task.number]
        kept = not (isinstance(step.op, CopyOp) and step.op.chown)
        found = {
            f"content {number}": content_of(self._tree(task.sources[item.origin]), step, item, with_owners=kept)
            for number, item in enumerate(step.op.inputs())
            if item.origin in task.sources
        }
        beginnings = step.op.beginnings() if isinstance(step.op, RunOp) else ()
        return found | {
            f"cache from {number}": str(chain_id([layer.diff_id for layer in task.sources[origin]]))
            for number, origin in enumerate(beginnings)
            if origin in task.sources
        }

    @property
    def reads(self) -> ReadsOfLayers | None:
        if self._step_context.roots is not None:
            return None
        from tiffin.builder.execute.reads import ReadsOfLayers

        return ReadsOfLayers(self._step_context.layers)

    def execute(self, task: StepTask) -> StepResult:
        step = task.stage.steps[task.number]
        match step.op:
            case RunOp():
                return self._run(task, step.op)
            case CopyOp():
                return self._change(task, lambda scratch, root: self._copied(task, root, scratch))
            case WorkdirOp():
                op = step.op
                return self._change(task, lambda _, root: workdir_changes(op, root, self._clock(), step.span))

    # -- RUN -------------------------------------------------------------------------------------------------------

    def _run(self, task: StepTask, op: RunOp) -> StepResult:
        """Run it, and again with more emulated when it asks for what is not at hand."""
        runner, emulator, step = (self._step_context.runner, self._step_context.emulator, task.stage.steps[task.number])
        assert runner is not None and emulator is not None, "a RUN step was not foreseen"
        emulation = emulator.demanded(op, task.chain, task.sources, step.span)
        tries = 0
        while True:
            try:
                with self._step_context.state.scratch("run") as scratch:
                    return self._attempt(task, op, emulation, scratch)
            except RunError as exc:
                tries += 1
                if tries > op.run_defaults.retries:
                    raise
                runner.await_another_try(task.stage.label(task.number), exc, tries, op.run_defaults.retries)
            except StepAbandoned as abandoned:
                number = task.stage.label(task.number).partition("]")[0] + "]"  # as in "[2/5] RUN …"
                emulation = emulator.more(emulation, abandoned, number, step.span)
            except SandboxError as exc:
                if not emulation.owners:
                    raise
                raise refusal(emulation.cause, emulator.limits, exc.message, step.span) from exc

    def _attempt(self, task: StepTask, op: RunOp, emulation: Emulation, scratch: Path) -> StepResult:
        runner, emulator = self._step_context.runner, self._step_context.emulator
        assert runner is not None and emulator is not None
        span = task.stage.steps[task.number].span
        request = RunRequest(op=op, step_id=task.step_id, scratch=scratch, span=span, emulation=emulation)
        roots = self._step_context.roots if not emulation.owners or self._emulated is None else self._emulated.roots
        with ExitStack() as stack:
            if roots is not None:
                with phase(self._step_context.sink, "copy layers"):
                    copied = stack.enter_context(roots.take(task.chain))
                self._ask_again(task, op, emulation)
                return self._run_copied(task, replace(request, root_dir=copied.path), copied)
            lower_dirs = self._trees_below(task, emulated=emulation.owners)
            self._ask_again(task, op, emulation)
            request = request.over(lower_dirs)
            watch = None
            if task.surroundings is not None:  # else nothing of it is loaded
                from tiffin.builder.execute.reads import ReadsWatch

                watch = ReadsWatch(task.surroundings, scratch)
            try:
                with self._mounted(task, request) as (spec, mounted), phase(self._step_context.sink, "command"):
                    spec = watch.ask(spec) if watch is not None else spec
                    runner.run(request, spec)
                    self._step_context.mounts.check(mounted, span)
            except RunError as exc:
                self._keep_failure(task, request, spec, exc)
                raise
            with phase(self._step_context.sink, "diff, pack and keep"):
                return self._keep_upper(task, request, watch)

    def _keep_upper(self, task: StepTask, request: RunRequest, watch: ReadsWatch | None) -> StepResult:
        upper = request.upper
        assert upper is not None
        changes = diff_upper(upper)
        left = reduced(changes, TreesBelow(request.lower_dirs), epoch_ns=self._epoch_ns())
        settle(upper, left)
        made = self._keep_tree(task, left.changes, upper, emulated=request.emulation.owners)
        return replace(made, reads=watch.reads(changes)) if watch is not None else made

    def _keep_failure(self, task: StepTask, request: RunRequest, spec: SandboxSpec, error: RunError) -> None:
        """Keep what a failed command left, for `tiffin debug`."""
        from tiffin.builder.execute.debugging.failures import Failures, failed_step, kept_number, without_secrets

        runner, most = self._step_context.runner, kept_number(os.environ, self._step_context.sink)
        assert runner is not None
        if most == 0:
            return
        layers = self._emulated.layers if request.emulation.owners and self._emulated else self._step_context.layers
        step = failed_step(
            request.op,
            without_secrets(spec, request.op, request.scratch, runner.ways()),
            error,
            label=task.stage.label(task.number),
            tier=runner.isolation.tier.name,
            id_map=layers.snapshots.idmap_tag,
            layers=task.chain,
        )
        with suppress(OSError, StoreError):  # what is only looked at later ends no build
            kept = Failures(self._step_context.state).keep(step, request.scratch, most)
            error.leaves(kept, "tiffin debug opens a shell in what it left")

    def _ask_again(self, task: StepTask, op: RunOp, emulation: Emulation) -> None:
        """Raise StepAbandoned if layers that were looked into only now need more."""
        assert self._step_context.emulator is not None
        span = task.stage.steps[task.number].span
        found = self._step_context.emulator.demanded(op, task.chain, task.sources, span)
        if (found.owners and not emulation.owners) or (found.opens and not emulation.opens):
            raise UnexpectedOwners(found)

    def _run_copied(self, task: StepTask, request: RunRequest, copied: CopiedRoot) -> StepResult:
        """Run in a root of its own, and find out what changed by looking before and after."""
        runner, sink = self._step_context.runner, self._step_context.sink
        assert runner is not None
        tier, aside = runner.isolation.tier, request.scratch / "aside"
        aside.mkdir()
        with self._mounted(task, request) as (spec, mounted), MountSubstitutes(copied.path, aside) as places:
            spec = tier.prepare_root(spec, places)
            with phase(sink, "scan"):
                before = scan(copied.path, places.places)
            with phase(sink, "command"):
                runner.run(request, spec)
                self._step_context.mounts.check(mounted, request.span)
            with phase(sink, "diff, pack and keep"):
                after = scan(copied.path, places.places)
                for found in (before, after):
                    drop_unused(found, places.made)
                changes = diff_scans(copied.path, before, after, owner=tier.root_ids())
                left = reduced(changes, TablesBelow(self._tables(task.chain)), epoch_ns=self._epoch_ns())
                set_times(copied.path, [*left.retimed, *left.restored])
                made = self._keep_packed(task, left.changes)
        copied.accept(made.layer.diff_id)
        return made

    @contextmanager
    def _mounted(self, task: StepTask, request: RunRequest) -> Iterator[tuple[SandboxSpec, PreparedMounts]]:
        """Yield the sandbox of a step, and what is mounted there for its time."""
        assert self._step_context.runner is not None and self._step_context.emulator is not None
        trees = {origin: (self._tree(chain), chain) for origin, chain in task.sources.items()}
        self._ask_again(task, request.op, request.emulation)
        emulated = self._emulated if request.emulation.owners else None
        mounts = emulated.mounts if emulated is not None else self._step_context.mounts
        # looked at on disk: the tables of large layers take longer to load than such a step
        root = RootView([request.root_dir] if request.root_dir else request.lower_dirs)
        with ExitStack() as stack:
            mounted = mounts.prepare(request.op, root, trees, request.scratch, stack, request.span)
            yield self._step_context.runner.spec(request, root, mounted, self._step_context.emulator), mounted

    def _trees_below(self, task: StepTask, *, emulated: bool) -> list[Path]:
        layers = self._emulated.layers if emulated and self._emulated is not None else self._step_context.layers
        with phase(self._step_context.sink, "unpack layers"):
            trees = layers.ensure_snapshots([(layer.diff_id, layer.blob) for layer in task.chain])
        if task.for_target:
            self._step_context.unpacked(task.chain)
        return trees

    # -- COPY, ADD, WORKDIR ----------------------------------------------------------------------------------------

    def _change(self, task: StepTask, changes_of: Callable[[Path, LayerTree], list[Change]]) -> StepResult:
        with self._step_context.state.scratch("copy") as scratch:
            chain = () if stands_alone(task.stage.steps[task.number].op) else task.chain
            emulator = self._step_context.emulator
            needs_tree = task.needs_tree and emulator is not None and self._step_context.roots is None
            needs_tree = needs_tree and not (emulator and emulator.chain_goes_beyond(task.chain))
            if needs_tree:  # one pass over the layers below gives both what a RUN will mount and their tables
                self._trees_below(task, emulated=False)
            found = changes_of(scratch, self._tree(chain))
            below = TablesBelow(self._tables(chain))
            changes = reduced(found, below, epoch_ns=self._epoch_ns(), name_count=below.name_count).changes
            if emulator is not None and emulator.goes_beyond(demands_of(change.entry for change in each(changes))):
                needs_tree = False  # it is unpacked for those that have one id when a RUN mounts it
            if not needs_tree:
                return self._keep_packed(task, changes)
            tree = scratch / "tree"
            tree.mkdir()
            tree.chmod(ROOT_MODE)
            materialize(changes, tree)
            # pack what was written, so that tree and layer are the same bytes whatever the source does meanwhile
            return self._keep_tree(task, written_below(tree, changes), tree)

    def _copied(self, task: StepTask, root: LayerTree, scratch: Path) -> list[Change]:
        step = task.stage.steps[task.number]
        op = step.op
        assert isinstance(op, CopyOp)
        groups = []
        for item in op.sources:
            tree: SourceTree
            if isinstance(item.origin, (StageOrigin, ImageOrigin)):
                tree = self._tree(task.sources[item.origin])
            else:
                with at_step(step):
                    tree = self._step_context.contexts.content(item.origin)
            groups.append(SourceGroup(tree=tree, selected=select_for(tree, step, item), unpack=item.unpack))
        return copy_changes(op, groups, root, self._clock(), scratch=scratch, span=step.span)

    # -- keeping ---------------------------------------------------------------------------------------------------

    def _keep_tree(
        self, task: StepTask, changes: Sequence[Change], tree: Path, *, emulated: bool = False
    ) -> StepResult:
        """Pack `changes` for their DiffID (and a blob, where the image needs one) and publish `tree` under it.

        Both have the times of layers already, and hold the same. `emulated`: the tree serves few, so a blob is kept for
        the others.
        """
        made = self._pack(task, changes, self._compression(task) or (UNCOMPRESSED if emulated else None))
        layers = self._emulated.layers if emulated and self._emulated is not None else self._step_context.layers
        layers.snapshots.publish(made.layer.diff_id, tree)
        return made

    def _keep_packed(self, task: StepTask, changes: Sequence[Change]) -> StepResult:
        """Pack straight into a blob: compressed where it leaves this machine, else plain and so quickly read."""
        return self._pack(task, changes, self._compression(task) or UNCOMPRESSED)

    def _compression(self, task: StepTask) -> Compression | None:
        """Return how the layer of a step is packed, None where nobody needs it packed."""
        wanted = self._step_context.compression if task.for_target else None
        return wanted or self._step_context.others

    def _pack(self, task: StepTask, changes: Sequence[Change], compression: Compression | None) -> StepResult:
        step = task.stage.steps[task.number]
        epoch = self._step_context.epoch
        with at_step(step):
            packed = pack_layer(
                changes,
                blobs=self._step_context.blobs if compression else None,
                compression=compression,
                is_told=True,
            )
        layers = self._step_context.layers
        layers.keep_index(packed.diff_id, packed.index)
        if packed.blob is not None:
            layers.snapshots.add_blob(packed.diff_id, packed.blob)
        created = rfc3339(time.time() if epoch is None else epoch)
        layer = LayerRef(diff_id=packed.diff_id, blob=packed.blob, created=created)
        return StepResult(layer=layer, description=step.text, is_empty=not changes)

    # -- trees -----------------------------------------------------------------------------------------------------

    def _clock(self) -> Clock:
        return Clock(now_ns=time.time_ns(), epoch_ns=self._epoch_ns())

    def _epoch_ns(self) -> int | None:
        return None if self._step_context.epoch is None else self._step_context.epoch * NANOSECONDS

    def _tree(self, chain: Chain) -> LayerTree:
        """Return the merged view of `chain`, from its tables."""
        members = self._members
        assert members is not None

        return LayerTree(self._tables(chain), lambda number, entry: members.open(chain[number], entry))

    def _tables(self, chain: Chain) -> list[LayerIndex]:
        return [self._step_context.layers.ensure_index(layer.diff_id, layer.blob) for layer in chain]
