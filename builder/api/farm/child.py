"""The process in which a worker of a farm makes one unit: it enters a user namespace, and that takes a process of its
own.

It is a fork of tiffin.builder.api.farm.unit_server. Standard input brings the unit and answers, standard output takes
results, events and questions: frames of tiffin.builder.farm.pipes. When the input ends, so does the process: its worker
is gone. As a program it says what this machine can.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from types import FrameType
from typing import BinaryIO, cast

from tiffin.builder.api.farm.faults import Faults
from tiffin.builder.api.farm.joined import load_requests
from tiffin.builder.api.farm.link import DriverCache, WorkerLink
from tiffin.builder.api.session import BUILDING, Session
from tiffin.builder.errors import MissingBlobError, StoreError, TiffinError
from tiffin.builder.farm.sent_trees import ReplayedTree, SentContexts
from tiffin.builder.farm.values import Ended, Filling, Made, Unit
from tiffin.builder.image.chain import Chain
from tiffin.builder.instructions.ops import Origin, RunOp
from tiffin.builder.oci.spec import LAYER_COMPRESSION
from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.backend import AvailableOnly, Tiered
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING
from tiffin.cache.store.snapshots import BlobRef
from tiffin.cache.store.statedir import StateDir

if TYPE_CHECKING:
    from tiffin.builder.execute.copied_roots import CopiedRoots
    from tiffin.builder.execute.executor import StepExecutor
    from tiffin.builder.execute.run_mounts import MountPreparer
    from tiffin.builder.execute.run_step import Runner
    from tiffin.builder.execute.steps import StepTask
    from tiffin.builder.image.layers import LayerStore
    from tiffin.builder.image.remote import Remote
    from tiffin.builder.image.streaming_fetch import FetchObserver
    from tiffin.builder.instructions.base import Step
    from tiffin.builder.sandbox.isolation import Isolation
    from tiffin.builder.sandbox.launch import Launcher
    from tiffin.builder.sharing.caches import SharedCaches
    from tiffin.builder.solver.results import StepMade
    from tiffin.builder.sources.trees import SourceTree


SMALL_BYTES = 1 << 20  # of a layer that is brought before it is known that a step reads it
BROUGHT_AT_ONCE = 4


class Ready:
    """What is made before the unit is known: the namespace of the worker's tier is entered, and what starts sandboxes
    runs there.
    """

    def __init__(self) -> None:
        self.session = Session()
        self.launcher: Launcher | None = None

    def prepare(self) -> None:
        """Make it; the process has one thread. Raises TiffinError."""
        if self.session.isolate(None).tier.runs_commands:
            self.launcher = self.session.launch()


def make_unit(ready: Ready) -> None:
    """Make the unit that comes in, and end the process."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    results = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever prints does not disturb
    os.set_inheritable(results.fileno(), False)
    worker = WorkerLink(cast(BinaryIO, os.fdopen(os.dup(0), "rb", buffering=0)), results)
    unit = worker.first()
    faults = Faults(StateDir.default_root(os.environ))
    try:
        shared = _UnitMaker(unit, worker, ready).make()
        worker.tell(Ended(unit=unit.name, shared=shared))
    except KeyboardInterrupt:
        pass
    except BaseException as exc:
        if not isinstance(exc, TiffinError):
            import traceback

            traceback.print_exc()
        worker.tell(Ended(unit=unit.name, failure=faults.failure(exc, unit)))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        from tiffin.cache.store.statedir import finish

        finish()
        sys.stderr.flush()
        os._exit(0)


def load() -> None:
    """Load what most units need."""
    import tiffin.builder.execute.copied_roots
    import tiffin.builder.execute.emulation
    import tiffin.builder.execute.executor
    import tiffin.builder.execute.run_step
    import tiffin.builder.image.cache_image
    import tiffin.builder.image.remote
    import tiffin.builder.sandbox.isolation_cache
    import tiffin.builder.sandbox.tiers.choice
    import tiffin.builder.settings.registries
    import tiffin.builder.sharing.caches
    import tiffin.builder.solver.pending
    import tiffin.builder.solver.step_runner
    import tiffin.cache.foundation.spreading
    import tiffin.cache.shared.deadline
    import tiffin.cache.shared.signing
    import tiffin.cache.shared.tier
    import tiffin.cache.shared.upload
    import tiffin.cache.store.local  # noqa: F401

    load_requests()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def describe(isolation: str) -> Mapping[str, object]:
    """Return what this machine can, without entering anything: tier, architectures, processors, memory."""
    from tiffin.builder.sandbox import binfmt
    from tiffin.builder.sandbox.tiers.choice import choose

    session = Session()
    with session.state.scratch("probe") as place:
        found = choose(isolation or os.environ.get("TIFFIN_ISOLATION") or None, place)
    runs = [name for name in binfmt.ARCHITECTURES if binfmt.can_run(name)]
    native = [name for name in runs if binfmt.can_run(name, os.devnull)]
    return {
        "tier": str(found.tier),
        "runs": found.tier.runs_commands,
        "native": native,
        "emulated": [name for name in runs if name not in native],
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


class _UnitMaker:
    """Makes the steps of one unit with what a local build has."""

    def __init__(self, unit: Unit, worker: WorkerLink, ready: Ready) -> None:
        self._unit = unit
        self._worker = worker
        self._ready = ready
        self._session = ready.session
        self._remote_made: Remote | None = None
        self._fetched: dict[BlobRef, bool] = {}  # what is brought up; whether it is for the target

    def make(self) -> tuple[Digest, ...]:
        """Make all steps; return the layers that are in the shared caches then. Raises TiffinError."""
        from tiffin.builder.image.layers import LayerStore
        from tiffin.cache.store.snapshots import Snapshots

        session = self._session
        with ExitStack() as stack:
            stack.enter_context(session.state.lock(BUILDING, shared=True))
            layers = LayerStore(session.state, session.blobs, Snapshots(session.state), self._fetch)
            executor = stack.enter_context(self._executor(layers, stack))
            self._worker.listen()
            shared = self._shared(layers)
            self._note_origins(layers)
            self._bring_small(stack)
            self._make_steps(executor, layers, shared, self._tasks(stack))
            if shared is not None and self._fetched:
                self._worker.tell(Filling(unit=self._unit.name))
                if shared.settle(self._fetched):
                    return tuple(ref.digest for ref in self._fetched)
            return ()

    # -- what a local build has ----------------------------------------------------------------------------------------

    def _executor(self, layers: LayerStore, stack: ExitStack) -> StepExecutor:
        """Return the executor; the process enters its namespace, and forks what starts sandboxes."""
        from tiffin.builder.execute.emulation import Emulator
        from tiffin.builder.execute.executor import StepContext, StepExecutor

        session = self._session
        isolation = session.isolate(self._unit.isolation or None)
        layers.use_trees(isolation.idmap_tag)
        runner = self._runner(isolation, stack)
        contexts = self._contexts()
        return StepExecutor(
            StepContext(
                state=session.state,
                blobs=session.blobs,
                layers=layers,
                contexts=contexts,
                sink=self._worker,
                runner=runner,
                emulator=Emulator(isolation, layers, session.state, self._worker) if runner is not None else None,
                roots=self._roots(layers, stack) if runner is not None and not isolation.overlay else None,
                mounts=self._mounts(layers, contexts, isolation),
                compression=self._unit.compression,
                epoch=self._unit.epoch,
                others=self._unit.others,
            )
        )

    def _runner(self, isolation: Isolation, stack: ExitStack) -> Runner | None:
        """Return what runs commands, None where there are none. Raises BuildError where none can run here."""
        from tiffin.builder.execute.run_step import Runner
        from tiffin.builder.solver.pending import check_isolation

        places = [(task.stage, task.number) for task in self._unit.tasks]
        runs = [(stage, number) for stage, number in places if isinstance(stage.steps[number].op, RunOp)]
        if not runs:
            return None
        check_isolation(runs, isolation)
        launcher = self._ready.launcher or self._session.launch()
        stack.callback(launcher.close)
        return Runner(launcher, self._worker, isolation, self._session.state.filters, None)

    def _roots(self, layers: LayerStore, stack: ExitStack) -> CopiedRoots:
        from contextlib import closing

        from tiffin.builder.execute.copied_roots import CopiedRoots

        return stack.enter_context(closing(CopiedRoots(self._session.state, layers)))

    def _mounts(self, layers: LayerStore, contexts: SentContexts, isolation: Isolation) -> MountPreparer:
        from tiffin.builder.execute.run_mounts import MountPreparer
        from tiffin.builder.execute.ssh_agents import Agents

        return MountPreparer(
            state=self._session.state,
            layers=layers,
            contexts=contexts,
            secrets=self._unit.secrets,
            agents=Agents({name: partial(self._worker.ask_agent, name) for name in self._unit.agents}),
            fill_cache=lambda mount_id, path: False,
            isolation=isolation,
        )

    def _contexts(self) -> SentContexts:
        trees: dict[Origin, SourceTree] = {
            origin: ReplayedTree(sent, self._open_blob) for origin, sent in self._unit.trees.items()
        }
        return SentContexts(trees)  # type: ignore[arg-type]  # the keys are origins outside the build

    def _open_blob(self, digest: Digest) -> BinaryIO:
        """Open a file of the context: its driver put it here before the unit began."""
        if not self._session.blobs.has(digest):
            reason = self._worker.bring(BlobRef(media_type="", digest=digest, size_bytes=-1), last=True)
            if reason:
                raise StoreError(f"a file of the context ({digest}) is not here: {reason}", remedy="build again")
        return cast(BinaryIO, self._session.blobs.path(digest).open("rb", buffering=0))

    def _shared(self, layers: LayerStore) -> SharedCaches | None:
        if not self._unit.caches:
            return None
        from tiffin.builder.sharing.caches import SharedCaches
        from tiffin.cache.shared.signing import signer_of
        from tiffin.cache.trust import Trust

        return SharedCaches(
            self._unit.caches,
            blobs=self._session.blobs,
            layers=layers,
            remote=lambda: self._remote,
            sink=self._worker,
            signer=signer_of(None),
            trust=Trust(os.environ),
        )

    def _note_origins(self, layers: LayerStore) -> None:
        """Note where layers are to be had, those of the unit's chain and sources, of which nothing was known."""
        notes = self._session.store.notes
        for digest, places in self._unit.origins.items():
            if not set(places) & set(notes.origins(digest)):
                for registry, repository in places:
                    notes.add_origin(digest, registry, repository)

    @property
    def _chains(self) -> set[Chain]:
        """What the steps begin with, and what they read."""
        tasks = self._unit.tasks
        return {tasks[0].chain, *(chain for task in tasks for chain in task.sources.values())}

    # -- layers --------------------------------------------------------------------------------------------------------

    @property
    def _remote(self) -> Remote:
        if self._remote_made is None:
            access = RegistryAccess(insecure=self._unit.insecure)
            self._remote_made = self._session.remote(self._worker, access)
            self._remote_made.ask_first(self._bring_from_workers)
        return self._remote_made

    def _bring_from_workers(self, ref: BlobRef) -> bool:
        return not self._worker.bring(ref) and self._session.blobs.has(ref.digest)

    def _fetch(self, ref: BlobRef, follower: FetchObserver | None) -> None:
        """Bring a layer here: from another worker, a shared cache, its registry; from the driver where none has it."""
        try:
            self._remote.fetch(ref, follower)
        except TiffinError as exc:
            reason = self._worker.bring(ref, last=True)
            if reason or not self._session.blobs.has(ref.digest):
                raise MissingBlobError(
                    f"layer {ref.digest.short}: {exc.message}; the driver: {reason}", digest=str(ref.digest)
                ) from exc

    def _bring_small(self, stack: ExitStack) -> None:
        """Begin to bring the small layers that steps may read, all at once: one by one, each is a round trip."""
        refs = {layer.blob for chain in self._chains for layer in chain if layer.blob is not None and not layer.base}
        wanted = [ref for ref in refs if 0 <= ref.size_bytes <= SMALL_BYTES and ref.digest in self._unit.holders]
        lacking = [ref for ref in wanted if not self._session.blobs.has(ref.digest)]
        if len(lacking) > 1:
            from concurrent.futures import ThreadPoolExecutor

            pool = stack.enter_context(ThreadPoolExecutor(BROUGHT_AT_ONCE, "bring"))
            for ref in lacking:
                pool.submit(self._worker.bring, ref)  # whoever needs it finds out what went wrong

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _tasks(self, stack: ExitStack) -> tuple[StepTask, ...]:
        """Return the steps, with profiles of seccomp that are here."""
        if not self._unit.profiles:
            return self._unit.tasks
        place = stack.enter_context(self._session.state.scratch("seccomp"))
        here = {}
        for number, (name, content) in enumerate(self._unit.profiles.items()):
            path = here[name] = place / f"{number}.json"
            path.write_bytes(content)

        def moved(step: Step) -> Step:
            if not isinstance(step.op, RunOp) or step.op.run_defaults.seccomp not in here:
                return step
            defaults = replace(step.op.run_defaults, seccomp=os.fspath(here[step.op.run_defaults.seccomp]))
            return replace(step, op=replace(step.op, run_defaults=defaults))

        stage = replace(self._unit.tasks[0].stage, steps=tuple(map(moved, self._unit.tasks[0].stage.steps)))
        return tuple(replace(task, stage=stage) for task in self._unit.tasks)

    def _make_steps(
        self, executor: StepExecutor, layers: LayerStore, shared: SharedCaches | None, tasks: Sequence[StepTask]
    ) -> None:
        from tiffin.builder.solver.results import layer_of
        from tiffin.builder.solver.step_runner import StepRunner
        from tiffin.cache.store.local import LocalCache

        unit, session = self._unit, self._session
        local = AvailableOnly(LocalCache(session.table), layers.has)
        cache = Tiered([local, DriverCache(self._worker, layers, shared)])
        runner = StepRunner(cache=cache, state=session.state, sink=self._worker)
        for chain in self._chains:
            self._expect(chain, layers, shared)
        chain = unit.tasks[0].chain
        for task, look in zip(tasks, unit.looks, strict=True):
            made = self._packed(runner.run(replace(task, chain=chain), look, executor), layers, task.for_target)
            layer = made.record.layer
            assert layer is not None
            if shared is not None and session.blobs.has(layer.digest):
                self._fetched[layer] = task.for_target
                shared.ran(task.stage.index, task.number, made.keys, made.record, for_target=task.for_target)
            self._worker.tell(Made(unit=unit.name, made=made))
            chain = (*chain, layer_of(made.record))

    def _expect(self, chain: Chain, layers: LayerStore, shared: SharedCaches | None) -> None:
        """Count the layers of a chain as present: they come when something reads them."""
        for layer in chain:
            if layer.blob is not None and not layer.base and not layers.has(layer.diff_id):
                layers.expect(layer.diff_id, layer.blob)
                if shared is not None:
                    shared.may_have(layer.blob, layer.diff_id)

    def _packed(self, made: StepMade, layers: LayerStore, for_target: bool) -> StepMade:
        """Return a result with its packed layer, compressed as it is wanted."""
        wanted = (self._unit.compression if for_target else None) or self._unit.others
        ref = made.record.layer
        fits = ref is not None and LAYER_COMPRESSION.get(ref.media_type) == wanted.kind
        if ref is not None and fits and (self._session.blobs.has(ref.digest) or ref in layers.remote_blobs.values()):
            return made
        ref = layers.ensure_blob(made.record.diff_id, wanted)
        return replace(made, record=replace(made.record, layer=ref))


if __name__ == "__main__":
    from tiffin.builder import importing

    importing.install()
    print(json.dumps(describe(sys.argv[1])))  # noqa: T201  # for the worker
