"""A unit of work as its driver follows it, from where it is ready to where its results are taken."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace as replaced
from queue import SimpleQueue

from tiffin.builder.events import Sink
from tiffin.builder.execute.steps import StepTask
from tiffin.builder.farm.fleet import Step
from tiffin.builder.farm.values import Unit
from tiffin.builder.image.chain import Chain
from tiffin.builder.solver.results import StepMade, layer_of
from tiffin.cache.backend import StepRecord
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, replace
from tiffin.cache.store.snapshots import BlobRef

MAX_TRIES = 4  # workers on which a unit fails for the worker's reason
MAX_LOSSES = 10  # workers that are lost while they are at one unit, which may be what ends them


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a build gives to its units: content by digest, records of its caches.

    `pieces` yields the content of a file of the context or of a packed layer; `bring` makes sure that a layer is at
    hand, and returns why it is not, "" if it is; `records` asks the caches; `agent` asks one of --ssh by its id.
    """

    pieces: Callable[[Digest], Iterable[bytes]]
    bring: Callable[[BlobRef], str]
    records: Callable[[Sequence[Digest]], Mapping[Digest, StepRecord]]
    sink: Sink
    agent: Callable[[str, bytes], bytes]


def no_agent(name: str, request: bytes) -> bytes:
    """Answer for a build without --ssh, whose units ask nothing."""
    return b""


class Job:
    """One unit on its way. `files`: content that the worker must have before it begins, with sizes."""

    def __init__(self, unit: Unit, step: Step, files: Mapping[Digest, int], source: Source) -> None:
        self.unit = unit
        self.step = step
        self.files = files
        self.source = source
        self.results: SimpleQueue[StepMade | BaseException | None] = SimpleQueue()
        self.tried: list[str] = []  # names of workers that failed it, or were lost
        self.losses = 0  # how many of them were lost
        self.tries = 0
        self.is_over = False
        self._made: list[StepMade] = []
        self._lock = threading.Lock()
        self.shared: frozenset[Digest] = frozenset()  # layers that its worker brought into the shared caches
        self._filled = threading.Event()
        self._filled.set()

    @property
    def name(self) -> str:
        """Its name, which is that of its task."""
        return self.unit.name

    def next_try(self) -> str:
        """Return a name for one more try: what is said of another one is not taken for this one's."""
        self.tries += 1
        return self.name if self.tries == 1 else f"{self.name}.{self.tries}"

    def made(self, made: StepMade) -> None:
        """Take the next result."""
        self._made.append(made)
        self.results.put(made)

    def end(self, error: BaseException | None = None) -> None:
        """Have whoever waits for it go on; once."""
        if error is not None:
            self.filled()
        with self._lock:
            if self.is_over:
                return
            self.is_over = True
        self.results.put(error)

    def fills(self) -> None:
        """Note that its worker brings layers into the shared caches; what comes after the job need not wait for it."""
        self._filled.clear()

    def filled(self, shared: Collection[Digest] = ()) -> None:
        """Note that its worker does no longer, and which layers are there."""
        self.shared |= frozenset(shared)
        self._filled.set()

    def shared_layers(self) -> Iterator[tuple[BlobRef, bool]]:
        """Yield the layers that its worker brought into the shared caches, and whether each is for the target."""
        for made, task in zip(self._made, self.unit.tasks, strict=False):
            layer = made.record.layer
            if layer is not None and layer.digest in self.shared:
                yield layer, task.for_target

    @property
    def is_filling(self) -> bool:
        """Whether its worker brings layers into the shared caches."""
        return not self._filled.is_set()

    def wait_filled(self) -> None:
        """Wait until its worker has brought all into the shared caches, or is lost."""
        self._filled.wait()

    @property
    def is_hopeless(self) -> bool:
        """Whether so many workers failed it, or were lost, that no other is to try."""
        return len(self.tried) - self.losses >= MAX_TRIES or self.losses >= MAX_LOSSES

    def failed_at(self, worker: str, present: Collection[str]) -> None:
        """Note that a worker failed it, or was lost, if it is not among those `present`; others of these are to make
        what is left, if there are any.
        """
        self.tried.append(worker)
        self.losses += worker not in present
        avoid = frozenset(self.tried) & frozenset(present)
        left = self.left(lambda _: ()).tasks
        self.step = replaced(
            self.step,
            layers=tuple((str(digest), size) for digest, size in layers_of(left).items()),
            avoid=avoid if len(avoid) < len(present) else frozenset(),
        )

    @property
    def is_complete(self) -> bool:
        """Whether all steps are made."""
        return len(self._made) == len(self.unit.tasks)

    def left(self, holders: Callable[[Digest], tuple[str, ...]], name: str = "") -> Unit:
        """Return what is still to be made, as a unit of a try's name; `holders` says which workers have a layer."""
        done = len(self._made)
        chain: Chain = (*self.unit.tasks[0].chain, *(layer_of(made.record) for made in self._made))
        tasks = tuple(replace(task, chain=chain) for task in self.unit.tasks[done:])
        found = {digest: holders(digest) for digest in layers_of(tasks)}
        return replace(
            self.unit,
            name=name or self.name,
            tasks=tasks,
            looks=self.unit.looks[done:],
            holders={digest: addresses for digest, addresses in found.items() if addresses},
        )

    def label(self) -> str:
        """Return the step that is next, as people name it."""
        task: StepTask = self.unit.tasks[min(len(self._made), len(self.unit.tasks) - 1)]
        return task.stage.label(task.number)


def layers_of(tasks: Sequence[StepTask]) -> dict[Digest, int]:
    """Return the packed layers that some steps may read, with their sizes."""
    chains = [tasks[0].chain, *(chain for task in tasks for chain in task.sources.values())]
    return {layer.blob.digest: layer.blob.size_bytes for chain in chains for layer in chain if layer.blob is not None}
