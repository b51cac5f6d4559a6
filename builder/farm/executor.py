"""The steps of one build that a farm makes: what they need is gathered here, and their results are taken."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, cast

from tiffin.builder.errors import CanceledError, StoreError, TiffinError
from tiffin.builder.events import Sink
from tiffin.builder.execute.ssh_agents import Agents
from tiffin.builder.execute.steps import StepTask
from tiffin.builder.farm.fleet import Step
from tiffin.builder.farm.jobs import Job, Source, layers_of, no_agent
from tiffin.builder.farm.sent_trees import Recorder, content, record
from tiffin.builder.farm.urgency import Place, expected_seconds
from tiffin.builder.farm.values import Unit
from tiffin.builder.image.chain import Chain, LayerRef
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.instructions.ops import (
    CopyOp,
    ImageOrigin,
    OutsideOrigin,
    RunOp,
    SecretMount,
    SshMount,
    StageOrigin,
)
from tiffin.builder.layer.compression.codecs import Compression
from tiffin.builder.plan.plan import StagePlan
from tiffin.builder.sandbox.seccomp.filters import has_profile, profile_of
from tiffin.builder.sharing.options import CacheSpec
from tiffin.builder.solver.results import StepMade
from tiffin.builder.solver.step_keys import StepLook
from tiffin.builder.sources.context import Contexts
from tiffin.cache.backend import StepRecord, Tiered
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES, Digest
from tiffin.cache.foundation.frozen import dataclass, field, replace
from tiffin.cache.foundation.typing_shim import Protocol
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.snapshots import BlobRef

SMALL_BYTES = 16 << 20  # of a COPY that the driver makes itself
UNCOMPRESSED = Compression(kind="none")


class FarmLike(Protocol):
    """What tiffin.builder.farm.dask.driver.Farm does."""

    def submit(self, job: Job) -> None: ...
    def cancel(self, jobs: Sequence[Job]) -> None: ...
    def new_name(self, text: str) -> str: ...
    def expect(self, build: object, seconds: float) -> None: ...
    def fetch(self, ref: BlobRef, blobs: BlobStore) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FarmBuild:
    """What a build has that its units need. `expect` is told of each layer that a worker made, `shared` of each that it
    brought into the shared caches, and whether that is for the target; `origins`: where in registries a packed layer is
    known to be.
    """

    contexts: Contexts
    layers: LayerStore
    blobs: BlobStore
    cache: Tiered
    sink: Sink
    origins: Callable[[Digest], tuple[tuple[str, str], ...]]
    expect: Callable[[BlobRef, Digest], None]
    shared: Callable[[BlobRef, bool], None]
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    caches: tuple[CacheSpec, ...] = field(default=(), repr=False)
    insecure: tuple[str, ...] = ()
    isolation: str = ""
    agents: Agents | None = None


class FarmExecutor:
    """Makes runs of steps on a farm (tiffin.builder.solver.results.Elsewhere); `farm` joins it when the first is made.
    `pending`: the steps that may have to run.
    """

    def __init__(
        self,
        farm: Callable[[], FarmLike],
        build: FarmBuild,
        ranks: Mapping[Place, float],
        pending: Sequence[tuple[StagePlan, int]],
        compression: Compression | None,
        epoch: int | None,
    ) -> None:
        self._farm = farm
        self._build = build
        self._ranks = ranks
        self._compression = compression
        self._epoch = epoch
        self._lock = threading.Lock()  # guards the next
        self._foreseen = {(stage.index, number): expected_seconds(stage, number) for stage, number in pending}
        self._is_expected = False  # whether the farm was told of these
        self._jobs: set[Job] = set()
        self._filling: set[Job] = set()  # jobs that are over but for the shared caches
        self._is_stopped = False

    def takes(self, tasks: Sequence[StepTask]) -> bool:
        """Whether it is for a worker: commands, what reads layers, and large copies."""
        with self._lock:
            for task in tasks:
                self._foreseen.pop((task.stage.index, task.number), None)
        ops = [task.stage.steps[task.number].op for task in tasks]
        if any(isinstance(op, RunOp) or (isinstance(op, CopyOp) and op.chown) for op in ops):
            return True
        if any(isinstance(origin, (StageOrigin, ImageOrigin)) for op in ops for origin in op.origins()):
            return True
        if any(not self._build.layers.snapshots.has_index(layer.diff_id) for layer in tasks[0].chain):
            return True  # what is below would have to come here first
        trees = record(self._build.contexts, [task.stage.steps[task.number] for task in tasks])
        return sum(entry.size for tree in trees.values() for entry in tree.files.values()) > SMALL_BYTES

    def run(self, tasks: Sequence[StepTask], looks: Sequence[StepLook]) -> Iterator[StepMade]:
        """Yield the results of a run of steps."""
        job = self._job(tasks, looks)
        farm = self._farm()
        with self._lock:
            if not self._is_stopped:
                self._jobs.add(job)
                self._is_expected = True
                farm.expect(self, sum(self._foreseen.values()))
        if job in self._jobs:
            farm.submit(job)
        else:
            job.end(CanceledError())
        try:
            while isinstance(result := job.results.get(), StepMade):
                layer = result.record.layer
                if layer is None:
                    raise StoreError("a worker packed no layer", remedy="use one version of tiffin everywhere")
                self._build.layers.expect(result.record.diff_id, layer)
                self._build.expect(layer, result.record.diff_id)
                yield result
        finally:
            with self._lock:
                self._jobs.discard(job)
                if job.is_filling:
                    self._filling.add(job)
            if not job.is_over:
                farm.cancel([job])
        if result is not None:
            raise result
        if not job.is_complete:
            raise StoreError(f"a worker made less than all of {job.name}", remedy="build again, or without --farm")

    def stop(self) -> None:
        """End what runs."""
        with self._lock:
            self._is_stopped = True
            filling = [job for job in self._filling if job.is_filling]
            jobs, is_expected, self._is_expected = [*self._jobs, *filling], self._is_expected, False
        if is_expected:
            self._farm().expect(self, 0)
        if jobs:
            self._farm().cancel(jobs)

    def finish(self) -> None:
        """Wait until workers have brought the layers they made into the shared caches."""
        with self._lock:
            filling = list(self._filling)
        for job in filling:
            job.wait_filled()
            for layer, for_target in job.shared_layers():
                self._build.shared(layer, for_target)

    # -- what a unit needs ---------------------------------------------------------------------------------------------

    def _job(self, tasks: Sequence[StepTask], looks: Sequence[StepLook]) -> Job:
        build = self._build
        steps = [task.stage.steps[task.number] for task in tasks]
        trees = record(build.contexts, steps)
        chain = self._packed(tasks[0].chain)
        sent = tuple(
            replace(task, chain=chain, sources={o: self._packed(c) for o, c in task.sources.items()}) for task in tasks
        )
        layers = layers_of(sent)
        stage = tasks[0].stage
        runs = [step.op for step in steps if isinstance(step.op, RunOp)]
        wanted = {mount.id for op in runs for mount in op.mounts if isinstance(mount, SecretMount)}
        asked = {mount.id for op in runs for mount in op.mounts if isinstance(mount, SshMount)}
        unit = Unit(
            name=self._farm().new_name(stage.label(tasks[0].number)),
            tasks=sent,
            looks=tuple(looks),
            trees={origin: tree.sent() for origin, tree in trees.items()},
            compression=self._compression,
            others=self._others(),
            epoch=self._epoch,
            secrets={name: value for name, value in build.secrets.items() if name in wanted},
            origins={digest: found for digest in layers if (found := build.origins(digest))},
            caches=build.caches,
            insecure=build.insecure,
            isolation=build.isolation,
            agents=build.agents.ids & asked if build.agents is not None else frozenset(),
            profiles={op.run_defaults.seccomp: profile_of(op.run_defaults.seccomp)
                      for op in runs if has_profile(op.run_defaults.seccomp)},
        )  # fmt: skip
        step = Step(
            name=unit.name,
            platform=f"linux/{stage.platform.architecture}" if runs else "",
            seconds=sum(expected_seconds(stage, task.number) for task in tasks),
            rank=self._ranks.get((stage.index, tasks[0].number), 0.0),
            layers=tuple((str(digest), size) for digest, size in layers.items()),
            labels=frozenset({f"isolation={build.isolation}"} if build.isolation else ()),
        )
        return Job(unit, step, _files(trees), self._source(trees))

    def _source(self, trees: Mapping[OutsideOrigin, Recorder]) -> Source:
        build = self._build
        return Source(
            pieces=lambda digest: self._pieces(trees, digest),
            bring=self._bring,
            records=self._records,
            sink=build.sink,
            agent=build.agents.ask if build.agents is not None else no_agent,
        )

    def _others(self) -> Compression:
        """Return how workers pack what is not for the target: as it goes into shared caches, so that nobody has to do
        it again.
        """
        filled = [spec for spec in self._build.caches if spec.writes]
        if any(spec.mode == "max" for spec in filled) or (filled and self._compression is None):
            return self._compression or Compression(kind="gzip")
        return UNCOMPRESSED

    def _packed(self, chain: Chain) -> Chain:
        """Return layers with a packed form each, which another machine can have."""
        return tuple(self._packed_layer(layer) for layer in chain)

    def _packed_layer(self, layer: LayerRef) -> LayerRef:
        layers = self._build.layers
        if layer.blob is not None and (layer.base or self._is_known(layer.diff_id, layer.blob)):
            return layer
        return replace(
            layer, blob=layers.remote_blobs.get(layer.diff_id) or layers.ensure_blob(layer.diff_id, UNCOMPRESSED)
        )

    def _is_known(self, diff_id: Digest, blob: BlobRef) -> bool:
        return self._build.blobs.has(blob.digest) or self._build.layers.remote_blobs.get(diff_id) == blob

    # -- what workers ask for ------------------------------------------------------------------------------------------

    def _pieces(self, trees: Mapping[OutsideOrigin, Recorder], digest: Digest) -> Iterable[bytes]:
        """Yield the content of a file of the context, or of a packed layer."""
        for tree in trees.values():
            entry = tree.files.get(digest)
            if entry is not None:
                yield from content(tree, entry, digest)
                return
        with cast(BinaryIO, self._build.blobs.path(digest).open("rb", buffering=0)) as stream:
            while data := stream.read(COPY_CHUNK_BYTES):
                yield data

    def _bring(self, ref: BlobRef) -> str:
        """Make sure that a packed layer is here; return why it is not."""
        if ref.size_bytes < 0:
            return "the driver has no such file"
        try:
            self._build.layers.bring(ref)
        except TiffinError as exc:
            return exc.message
        return ""

    def _records(self, keys: Sequence[Digest]) -> Mapping[Digest, StepRecord]:
        """Return what the caches of the build have, with layers that others can have."""
        try:
            found = self._build.cache.get_many(keys)
        except TiffinError:
            return {}
        return {
            key: record
            for key, record in found.items()
            if record.layer is not None and self._is_known(record.diff_id, record.layer)
        }


def _files(trees: Mapping[OutsideOrigin, Recorder]) -> dict[Digest, int]:
    return {digest: entry.size for tree in trees.values() for digest, entry in tree.files.items()}
