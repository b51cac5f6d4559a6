"""What the workers of a farm can do, hold and are doing: values and indexes that placement asks. Nothing is sent.

Times are seconds of the caller's clock, sizes are bytes. Layers are named by their digests.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

BYTES_PER_SECOND = 100e6  # of a worker of which no transfer was seen yet: a link of 1 Gbit/s
WEIGHT_OF_NEW = 0.3  # of the last transfer in the mean of a worker's rate
SCAN = 64  # workers that are looked at for one layer; more would cost more than a better choice saves
REST, LONGEST_REST = 10.0, 300.0  # seconds for which a worker that failed gets nothing
CROWDING = 0.1  # of a step's time that it takes longer beside others that fill all other slots


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """What a worker says of itself: `slots` steps at once, platforms (`linux/arm64`) whose commands it runs natively
    and by emulation (none, if it isolates nothing), and labels that a step may ask for (`isolation=range`). A
    `memory_bytes` of 0 is not counted.
    """

    name: str
    slots: int = 1
    platforms: frozenset[str] = frozenset()
    emulated: frozenset[str] = frozenset()
    cores: float = 1
    memory_bytes: int = 0
    labels: frozenset[str] = frozenset()
    bytes_per_second: float = BYTES_PER_SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a step asks of a worker. A `platform` of "" executes no command."""

    platform: str = ""
    cores: float = 0
    memory_bytes: int = 0
    labels: frozenset[str] = frozenset()

    def lacks(self, worker: Worker) -> str:
        """Return what a worker lacks, however idle it is and whatever platforms it has; "" if nothing."""
        if self.labels - worker.labels:
            return f"lacks the label {min(self.labels - worker.labels)}"
        if self.cores > worker.cores:
            return f"has {worker.cores:g} cores of {self.cores:g}"
        if worker.memory_bytes and self.memory_bytes > worker.memory_bytes:
            return f"has {worker.memory_bytes} bytes of memory of {self.memory_bytes}"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step, or an unbroken run of steps of a stage, that a worker can begin now.

    `layers` are all that have to be there, digests with bytes to transfer; `seconds` is how long it is expected to
    take; `rank` how long it is from its beginning to the end of the build (`critical_path.ranks`). It does not go to
    the workers of `avoid`.
    """

    name: str
    platform: str = ""
    seconds: float = 10.0
    rank: float = 0.0
    layers: tuple[tuple[str, int], ...] = ()
    cores: float = 0
    memory_bytes: int = 0
    labels: frozenset[str] = frozenset()
    avoid: frozenset[str] = frozenset()

    @property
    def needs(self) -> Needs:
        return Needs(
            platform=self.platform,
            cores=self.cores,
            memory_bytes=self.memory_bytes,
            labels=self.labels,
        )


@dataclass(slots=True, eq=False)
class WorkerState:
    """One worker, what it holds, and what it is doing.

    `others` are slots that somebody else uses, `queued` is seconds of the steps that wait for this worker alone,
    `local` a heap of steps whose layers it holds, `rest` how long it got nothing when it failed last, and `stamp`
    counts changes.
    """

    worker: Worker
    order: int
    rate: float
    held: set[str] = field(default_factory=set)
    running: dict[str, tuple[Step, float]] = field(default_factory=dict)
    pools: list[Pool] = field(default_factory=list)
    local: list[tuple[float, int, str]] = field(default_factory=list)
    others: int = 0
    queued: float = 0.0
    busy_seconds: float = 0.0
    memory_in_use: int = 0
    rest: float = 0.0
    stamp: int = 0

    @property
    def load(self) -> float:
        return (len(self.running) + self.others) / self.worker.slots

    def has_room(self, needs: Needs) -> bool:
        """Whether one more step could begin now."""
        return len(self.running) + self.others < self.worker.slots and (
            not self.worker.memory_bytes or self.memory_in_use + needs.memory_bytes <= self.worker.memory_bytes
        )

    def starts_in(self, now: float) -> float:
        """Return in how many seconds one of the steps here ends, those before the caller's considered. One that takes
        longer than expected is expected to take as long again.
        """
        ends = (
            began + step.seconds - now if now < began + step.seconds else now - began
            for step, began in self.running.values()
        )
        return min(ends, default=BUSY_WITH_OTHERS) + self.queued / self.worker.slots

    def transfer_seconds(self, step: Step) -> float:
        """Return how long it takes to get what the step needs and this worker does not hold."""
        return sum(size for layer, size in step.layers if layer not in self.held) / self.rate

    def cost(self, step: Step, now: float, *, idle: bool) -> float:
        """Return after how many seconds the step would be at work here, and what it loses beside others."""
        delay = CROWDING * step.seconds * self.load if idle else self.starts_in(now)
        return delay + self.transfer_seconds(step)

    def changed(self) -> None:
        """Tell the pools that there is more or less room than there was."""
        self.stamp += 1
        for pool in self.pools:
            pool.note(self)

    def join(self, pool: Pool) -> None:
        self.pools.append(pool)

    def leave(self, pool: Pool) -> None:
        self.pools.remove(pool)

    def begin(self, step: Step, now: float) -> None:
        self.running[step.name] = (step, now)
        self.memory_in_use += step.memory_bytes
        self.changed()

    def end(self, name: str, now: float) -> None:
        step, began = self.running.pop(name)
        self.memory_in_use -= step.memory_bytes
        self.busy_seconds += now - began
        self.changed()

    def occupy(self, slots: int) -> None:
        """Note how many slots somebody else uses."""
        self.others = slots
        self.changed()

    def queue(self, seconds: float) -> None:
        """Note that a step waits for this worker (or no longer, if negative)."""
        self.queued += seconds

    def failed(self) -> float:
        """Return for how many seconds it is to get nothing, having failed: twice as many each time."""
        self.rest = min(max(REST, 2 * self.rest), LONGEST_REST)
        return self.rest

    def succeeded(self) -> None:
        """Forget when it failed."""
        self.rest = 0.0

    def saw_transfer(self, size: int, seconds: float) -> None:
        """Learn the rate from what was fetched."""
        if size > 0 and seconds > 0:
            self.rate += WEIGHT_OF_NEW * (size / seconds - self.rate)


BUSY_WITH_OTHERS = 10.0  # seconds until a worker is free again whose slots all are somebody else's


class Pool:
    """The workers that may execute steps of the same needs, by how busy they are."""

    def __init__(self, needs: Needs) -> None:
        self.needs = needs
        self.members: dict[str, WorkerState] = {}
        self.idle: dict[str, WorkerState] = {}
        self._is_native = True
        self._heap: list[tuple[float, float, int, int, WorkerState]] = []

    def choose_members(self, states: Iterable[WorkerState]) -> None:
        """Take the workers that lack nothing, and have the platform natively; by emulation if nobody has."""
        for state in self.members.values():
            state.leave(self)
        fit = [state for state in states if not self.needs.lacks(state.worker)]
        platform = self.needs.platform
        native = [state for state in fit if not platform or platform in state.worker.platforms]
        chosen = native or [state for state in fit if platform in state.worker.emulated]
        self._is_native = bool(native)
        self.members, self.idle, self._heap = {}, {}, []
        for state in chosen:
            self._take(state)

    def add(self, state: WorkerState, states: Iterable[WorkerState]) -> None:
        """Take a worker in if it lacks nothing; a first native one takes the place of those that emulate."""
        platform = self.needs.platform
        if self.needs.lacks(state.worker):
            return
        native = not platform or platform in state.worker.platforms
        if native == self._is_native and self.members:
            self._take(state)
        elif native or not self.members:
            self.choose_members(states)

    def remove(self, state: WorkerState, states: Iterable[WorkerState]) -> None:
        """Leave a worker out; those that emulate serve when the last native one is gone."""
        del self.members[state.worker.name]
        self.idle.pop(state.worker.name, None)
        if not self.members:
            self.choose_members(states)

    def _take(self, state: WorkerState) -> None:
        self.members[state.worker.name] = state
        state.join(self)
        self.note(state)

    def note(self, state: WorkerState) -> None:
        """Note that a worker of this pool is more or less busy than it was."""
        if state.has_room(self.needs):
            self.idle[state.worker.name] = state
            entry = (state.load, state.busy_seconds / state.worker.slots, state.order, state.stamp, state)
            heapq.heappush(self._heap, entry)
        else:
            self.idle.pop(state.worker.name, None)

    def least_busy(self, number: int) -> list[WorkerState]:
        """Return up to `number` workers with room, those that did the least first."""
        kept: list[tuple[float, float, int, int, WorkerState]] = []
        while self._heap and len(kept) < number:
            entry = heapq.heappop(self._heap)
            state = entry[4]
            if entry[3] == state.stamp and self.idle.get(state.worker.name) is state:
                kept.append(entry)
        for entry in kept:
            heapq.heappush(self._heap, entry)
        return [entry[4] for entry in kept]


class Fleet:
    """All workers, and which of them holds a layer."""

    def __init__(self) -> None:
        self.states: dict[str, WorkerState] = {}
        self._holders: dict[str, dict[str, None]] = {}
        self._pools: dict[Needs, Pool] = {}
        self._number = 0

    def pool_of(self, needs: Needs) -> Pool:
        """Return the workers that may execute steps of these needs."""
        if needs not in self._pools:
            self._pools[needs] = pool = Pool(needs)
            pool.choose_members(self.states.values())
        return self._pools[needs]

    def add(self, worker: Worker, layers: Iterable[str]) -> None:
        """Add a worker, which holds these layers."""
        assert worker.name not in self.states, f"{worker.name} is in the farm already"
        self._number += 1
        self.states[worker.name] = WorkerState(worker=worker, order=self._number, rate=worker.bytes_per_second)
        self.hold(worker.name, layers)
        for pool in self._pools.values():
            pool.add(self.states[worker.name], self.states.values())

    def remove(self, name: str) -> WorkerState:
        """Forget a worker and all it holds; return what it was."""
        state = self.states.pop(name)
        for layer in state.held:
            self._release(layer, name)
        for pool in state.pools:
            pool.remove(state, self.states.values())
        return state

    def hold(self, name: str, layers: Iterable[str]) -> None:
        """Note that a worker has layers."""
        held = self.states[name].held
        for layer in layers:
            held.add(layer)
            self._holders.setdefault(layer, {})[name] = None

    def drop(self, name: str, layers: Iterable[str]) -> None:
        """Note that a worker has layers no longer."""
        held = self.states[name].held
        for layer in layers:
            held.discard(layer)
            self._release(layer, name)

    def _release(self, layer: str, name: str) -> None:
        holders = self._holders.get(layer, {})
        holders.pop(name, None)
        if not holders:
            self._holders.pop(layer, None)

    def holders(self, layer: str, within: Mapping[str, WorkerState]) -> Iterator[WorkerState]:
        """Yield workers of `within` that hold a layer: it looks at SCAN of them at most."""
        holders = self._holders.get(layer, {})
        if len(holders) <= len(within):
            return (within[name] for name in islice(holders, SCAN) if name in within)
        return (state for name, state in islice(within.items(), SCAN) if name in holders)
