"""Decide which worker executes a step that can begin: pure, on the state that the driver tells of. Nothing is sent.

The rules:

1. Only a worker that lacks nothing; one that emulates the platform only where nobody has it natively.
2. What is longest from the end of the build goes first: the critical path.
3. It goes where it is at work first: on a worker that holds the layers below, if there is room; on another that has to
   fetch them; or it waits for one that holds them, if that takes less than to fetch them. It waits little longer than
   was expected when it began to, and then is placed anew.
4. A worker that becomes free goes on with what it holds the layers of, unless something else is more urgent by more
   than its transfer takes, and so far from the end that the build would end later if it began later.
5. Of workers that are alike, the one that did the least.
6. One that failed for its own reason (a full disk) gets nothing for a while, unless all that fit have failed.

Every choice looks at a bounded number of workers, whatever the size of the farm.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Set
from dataclasses import dataclass
from itertools import islice

from tiffin.builder.farm.fleet import Fleet, Pool, Step, Worker, WorkerState

LANDMARKS = 8  # layers of a step, the largest, by which workers are looked for
CANDIDATES = 4  # workers that are compared for each landmark, and of those that did the least
HOMES = 8  # workers that learn of a step whose layers they hold; nothing is near to what more than these hold
CRITICAL = 0.7  # of the time that all work takes at least: what is nearer to the end than that can begin later
PATIENCE = 1.25  # how many times the expected wait a step waits
SHORTEST_WAIT = 0.05  # seconds
RETRY = 1.0  # seconds until a step that must not go to those that are idle is tried again


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The name of a step, that of the worker which is to execute it, and the layers that this worker has to fetch."""

    step: str
    worker: str
    missing: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class _Entry:
    """A step that was not handed out. `token` names its one valid place in the queues: older ones are passed over."""

    step: Step
    pool: Pool
    order: int
    landmarks: tuple[str, ...]
    token: int = 0
    waits_for: WorkerState | None = None

    def leave(self, token: int) -> None:
        """Make its places in the queues invalid, and let it wait for nobody."""
        self.token = token
        if self.waits_for is not None:
            self.waits_for.queue(-self.step.seconds)
            self.waits_for = None

    def wait_for(self, state: WorkerState) -> None:
        self.waits_for = state
        state.queue(self.step.seconds)

    def worth(self, state: WorkerState) -> float:
        """Return how urgent it is, less what its transfer to a worker takes."""
        return self.step.rank - state.transfer_seconds(self.step)


class Placement:
    """The steps that can begin, and the fleet. Not for several threads at once."""

    def __init__(self) -> None:
        self._fleet = Fleet()
        self._entries: dict[str, _Entry] = {}
        self._ready: dict[Pool, list[tuple[float, int, int, str]]] = {}
        self._waiting: list[tuple[float, int, str]] = []
        self._freed: dict[str, None] = {}
        self._resting: dict[str, float] = {}  # workers that failed, and until when they get nothing
        self._number = 0
        self._slots = 0
        self._queued_seconds = 0.0  # of the steps that can begin
        self._expected_seconds = 0.0  # of those that will be able to

    def expect(self, seconds: float) -> None:
        """Note what the steps take, in all, that cannot begin yet."""
        self._expected_seconds = seconds

    def add_worker(self, worker: Worker, layers: Iterable[str] = ()) -> None:
        """Add a worker that holds these layers."""
        self._fleet.add(worker, layers)
        self._slots += worker.slots
        self._freed[worker.name] = None

    def remove_worker(self, name: str) -> tuple[str, ...]:
        """Forget a worker; return the steps that it was executing, which may be handed in again."""
        state = self._fleet.remove(name)
        self._slots -= state.worker.slots
        self._freed.pop(name, None)
        self._resting.pop(name, None)
        for entry in [entry for entry in self._entries.values() if entry.waits_for is state]:
            self._queue(entry)
        return tuple(state.running)

    def hold(self, worker: str, layers: Iterable[str]) -> None:
        """Note that a worker has layers."""
        self._fleet.hold(worker, layers)

    def drop(self, worker: str, layers: Iterable[str]) -> None:
        """Note that a worker has layers no longer."""
        self._fleet.drop(worker, layers)

    def occupy(self, worker: str, slots: int) -> None:
        """Note how many slots of a worker somebody else uses."""
        self._fleet.states[worker].occupy(slots)
        self._freed[worker] = None

    def saw_transfer(self, worker: str, size: int, seconds: float) -> None:
        """Learn a worker's rate from what it fetched."""
        self._fleet.states[worker].saw_transfer(size, seconds)

    def add_step(self, step: Step) -> None:
        """Queue a step that can begin: all that it needs exists."""
        largest = sorted(step.layers, key=lambda layer: -layer[1])[:LANDMARKS]
        landmarks = tuple(dict.fromkeys(name for name, _ in (*largest, *step.layers[-1:])))
        self._number += 1
        entry = _Entry(step=step, pool=self._fleet.pool_of(step.needs), order=self._number, landmarks=landmarks)
        self._entries[step.name] = entry
        self._queued_seconds += step.seconds
        self._queue(entry)
        for state in self._homes(entry):
            heapq.heappush(state.local, (-step.rank, entry.order, step.name))

    def cancel(self, step: str) -> None:
        """Forget a step that was not handed out."""
        self._take_out(self._entries[step])

    def finish(self, step: str, worker: str, now: float, layers: Iterable[str] = ()) -> None:
        """Note that a worker is done with a step, in whatever way, and has these layers."""
        self._fleet.states[worker].end(step, now)
        self._fleet.hold(worker, layers)
        self._freed[worker] = None

    def failed(self, worker: str, now: float) -> float:
        """Note that a worker failed for its own reason; return for how many seconds it gets nothing, 0.0 if that was
        so already.
        """
        if worker in self._resting:
            return 0.0
        rest = self._fleet.states[worker].failed()
        self._resting[worker] = now + rest
        return rest

    def succeeded(self, worker: str) -> None:
        """Note that a worker made a step: when it failed is forgotten."""
        self._fleet.states[worker].succeeded()

    def choose(self, now: float) -> list[Assignment]:
        """Return what can be handed out now; each is taken as begun."""
        while self._waiting and self._waiting[0][0] <= now:
            _, token, name = heapq.heappop(self._waiting)
            entry = self._entries.get(name)
            if entry is not None and entry.token == token:
                self._queue(entry)
        for worker in [worker for worker, until in self._resting.items() if until <= now]:
            del self._resting[worker]
            for entry in self._entries.values():  # whatever they wait for
                self._queue(entry)
        chosen: list[Assignment] = []
        freed, self._freed = self._freed, {}
        for name in freed:
            chosen += self._go_on(self._fleet.states[name], now)
        while (entry := self._most_urgent(pool for pool in self._ready if pool.idle)) is not None:
            chosen += self._place(entry, now)
        return chosen

    def wakes_at(self) -> float | None:
        """Return when `choose` may choose more though nothing has happened; None: it will not."""
        while self._waiting:
            at, token, name = self._waiting[0]
            entry = self._entries.get(name)
            if entry is not None and entry.token == token:
                return at
            heapq.heappop(self._waiting)
        return None

    def is_idle_for(self, step: Step) -> bool:
        """Whether a worker that may execute the step has room for it, and no other step wants that."""
        return not self._entries and bool(
            self._fleet.pool_of(step.needs).idle.keys() - step.avoid - self._resting.keys()
        )

    def unplaceable(self) -> list[tuple[Step, str]]:
        """Return the steps that no worker could ever execute, each with the reason."""
        return [
            (entry.step, self._reason(entry))
            for entry in self._entries.values()
            if not entry.pool.members.keys() - entry.step.avoid
        ]

    def _reason(self, entry: _Entry) -> str:
        if not self._fleet.states:
            return "the farm has no workers"
        reasons = []
        for name, state in sorted(self._fleet.states.items()):
            lacks = entry.pool.needs.lacks(state.worker) or f"has not the platform {entry.step.platform}"
            reasons.append(f"{name} {'was tried' if name in entry.step.avoid else lacks}")
        more = f" and {len(reasons) - CANDIDATES} more" if len(reasons) > CANDIDATES else ""
        return ", ".join(reasons[:CANDIDATES]) + more

    def _queue(self, entry: _Entry) -> None:
        """Have an entry placed by the next choice."""
        self._leave(entry)
        queue = self._ready.setdefault(entry.pool, [])
        heapq.heappush(queue, (-entry.step.rank, entry.order, entry.token, entry.step.name))

    def _leave(self, entry: _Entry) -> None:
        self._number += 1
        entry.leave(self._number)

    def _take_out(self, entry: _Entry) -> Step:
        """Forget an entry."""
        self._leave(entry)
        self._queued_seconds -= entry.step.seconds
        return self._entries.pop(entry.step.name).step

    def _homes(self, entry: _Entry) -> list[WorkerState]:
        """Return the workers that hold what few others do of its layers."""
        homes: dict[str, WorkerState] = {}
        for layer in entry.landmarks:
            found = list(islice(self._fleet.holders(layer, entry.pool.members), HOMES + 1))
            if len(found) <= HOMES:
                homes.update((state.worker.name, state) for state in found)
        return list(homes.values())[:HOMES]

    def _most_urgent(self, pools: Iterable[Pool]) -> _Entry | None:
        """Return what is first in the queues of these pools."""
        best: _Entry | None = None
        for pool in pools:
            queue = self._ready.get(pool, [])
            while queue:
                entry = self._entries.get(queue[0][3])
                if entry is not None and entry.token == queue[0][2]:
                    if best is None or entry.step.rank > best.step.rank:
                        best = entry
                    break
                heapq.heappop(queue)
        return best

    def _go_on(self, state: WorkerState, now: float) -> list[Assignment]:
        """Place what a worker that became free holds layers of, most urgent first, and before all that is elsewhere."""
        chosen: list[Assignment] = []
        uncritical = CRITICAL * (self._expected_seconds + self._queued_seconds) / max(1, self._slots)
        while state.local:
            entry = self._entries.get(state.local[0][2])
            if entry is None or entry.order != state.local[0][1] or not self._may(entry, state):
                heapq.heappop(state.local)
                continue
            if not state.has_room(entry.pool.needs):
                break
            rival = self._most_urgent(state.pools)
            if rival is not None and rival.worth(state) > max(entry.worth(state), uncritical):
                self._queue(entry)
                break
            heapq.heappop(state.local)
            chosen += self._place(entry, now)
        return chosen

    def _may(self, entry: _Entry, state: WorkerState) -> bool:
        name = state.worker.name
        return name not in self._avoided(entry) and entry.pool.members.get(name) is state

    def _avoided(self, entry: _Entry) -> Set[str]:
        """Return the workers that are not to have an entry: those that failed are, where no other is left."""
        avoid = entry.step.avoid
        if not self._resting:
            return avoid
        more = avoid | self._resting.keys()
        return more if entry.pool.members.keys() - more else avoid

    def _place(self, entry: _Entry, now: float) -> list[Assignment]:
        """Hand a step out where it is at work first, or have it wait for there."""
        idle = entry.pool.idle
        costs = [
            (state.cost(entry.step, now, idle=name in idle), state.busy_seconds, state.order, state)
            for name, state in self._some(entry).items()
        ]
        if not costs:
            self._wait(entry, None, now + RETRY)
            return []
        cost, _, _, state = min(costs)
        if state.worker.name in idle:
            return [self._assign(entry, state, now)]
        self._wait(entry, state, now + max(SHORTEST_WAIT, PATIENCE * cost))
        return []

    def _some(self, entry: _Entry) -> dict[str, WorkerState]:
        """Return the workers that come into question, those that did the least and those that hold layers."""
        pool, avoid = entry.pool, self._avoided(entry)
        found = {state.worker.name: state for state in pool.least_busy(CANDIDATES + len(avoid))}
        for layer in entry.landmarks:
            for within in (pool.idle, pool.members):
                near = islice(self._fleet.holders(layer, within), CANDIDATES)
                found.update((state.worker.name, state) for state in near)
        return {name: state for name, state in found.items() if name not in avoid}

    def _wait(self, entry: _Entry, state: WorkerState | None, until: float) -> None:
        """Have an entry wait for a worker, but not longer than until a time."""
        self._leave(entry)
        heapq.heappush(self._waiting, (until, entry.token, entry.step.name))
        if state is not None:
            entry.wait_for(state)
            heapq.heappush(state.local, (-entry.step.rank, entry.order, entry.step.name))

    def _assign(self, entry: _Entry, state: WorkerState, now: float) -> Assignment:
        step = self._take_out(entry)
        missing = tuple(layer for layer, _ in step.layers if layer not in state.held)
        state.begin(step, now)
        self._fleet.hold(state.worker.name, (layer for layer, _ in step.layers))
        return Assignment(step=step.name, worker=state.worker.name, missing=missing)
