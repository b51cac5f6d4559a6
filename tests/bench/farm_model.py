"""A farm in simulated time: tiffin's own placement over modelled workers, links and one registry.

What is modelled: every link carries one transfer after another at its rate; a worker fetches what a step needs from
the registry, or from a worker that has it while the registry has not; it sends each layer to the registry when the
step is done; the driver hands out one step after another. What is not: compression, the disk, the sandbox, which are
part of the seconds of a step; and a registry that is slow for other reasons than its link.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Generator
from dataclasses import dataclass, field

import simpy

from tests.bench.farm_graphs import BASES, PLATFORM, Graph, Node, expected
from tiffin.builder.farm.fleet import Step, Worker
from tiffin.builder.farm.placement import Assignment, Placement
from tiffin.builder.farm.speculation import Speculation

GIGABIT = 125e6  # bytes per second
REQUESTS_OF_UPLOAD = 7  # HEAD, POST, PATCH, PUT of a layer, HEAD, POST and PUT of its record
REQUESTS_OF_DOWNLOAD = 1  # GET of a layer
SLOWNESS = 5  # times as long takes everything on a slow worker
LOOK_SECONDS = 0.5  # between two looks at what is late
REPLACED_AFTER = 30.0  # seconds until a machine comes in the place of one that was lost

Process = Generator[simpy.Event, object, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The machines: `error` is how wrong the driver's guesses of seconds are (0.3: mostly within 30 %)."""

    workers: int
    slots: int = 2
    worker_rate: float = GIGABIT
    registry_rate: float = 10 * GIGABIT
    driver_seconds: float = 0.002
    latency: float = 0.001
    error: float = 0.3
    slow: int = 0  # workers that are slow, evenly among the others
    expects: bool = True  # whether placement is told of the steps that cannot begin yet
    speculates: bool = False  # not beside losses
    lost: int = 0  # workers that die, at random moments of the time that the work takes at least


@dataclass(slots=True)
class Link:
    """Carries one transfer after another."""

    rate: float
    free_at: float = 0.0
    carried: int = 0

    def carry(self, now: float, size: int) -> float:
        """Return when a transfer that is asked for now has ended."""
        self.free_at = max(now, self.free_at) + size / self.rate
        self.carried += size
        return self.free_at


@dataclass(slots=True)
class Registry:
    """One registry: two ways of one link, what it has, and what was asked of it in each second."""

    rate: float
    has: set[str]
    down: Link = field(init=False)
    up: Link = field(init=False)
    requests: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.down, self.up = Link(self.rate), Link(self.rate)

    def asked(self, now: float, requests: int) -> None:
        self.requests[int(now)] = self.requests.get(int(now), 0) + requests


@dataclass(slots=True, eq=False)
class Machine:
    """A worker's links, what it has whole, and the processes of its steps."""

    worker: Worker
    down: Link
    up: Link
    slowness: int = 1
    has: set[str] = field(default_factory=set)
    steps: dict[str, simpy.Process] = field(default_factory=dict)
    done: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a build took and asked of the registry: bytes and requests in all, `peak` requests in the worst second."""

    makespan: float
    steps_run: int
    busiest: float
    downloaded: int
    uploaded: int
    from_workers: int
    requests: int
    peak: int


class Simulation:
    """One build on one farm."""

    def __init__(self, graph: Graph, site: Site, seed: int = 5) -> None:
        self._graph, self._site = graph, site
        self._chance = random.Random(seed)
        self._env = simpy.Environment()
        self._placement = Placement()
        self._speculation = Speculation() if site.speculates else None
        self._second_tries: set[str] = set()  # steps that are running, and that placement is to begin once more
        self._at: dict[str, list[str]] = {}  # who works at a step, where there may be several
        self._registry = Registry(site.registry_rate, set(BASES))
        self._machines: dict[str, Machine] = {}
        self._seconds, self._ranks = expected(graph, site.error)
        self._after: dict[str, list[str]] = {name: [] for name in graph}
        for node in graph.values():
            for name in node.needs:
                self._after[name].append(node.name)
        self._made: set[str] = set()  # steps that are done and whose layer is somewhere
        self._offered: set[str] = set()  # steps that placement knows of, or that are running
        self._ahead = dict(self._seconds)  # of steps that were never offered
        self._seconds_ahead = sum(self._ahead.values())
        self._news = self._env.event()
        self._driver_free_at = 0.0
        self._run, self._from_workers, self._joined = 0, 0, 0

    def build(self) -> Outcome:
        """Run until every step is done."""
        for _ in range(self._site.workers):
            self._join()
        for name in self._graph:
            self._offer(name)
        work = sum(node.seconds for node in self._graph.values()) / (self._site.workers * self._site.slots)
        for _ in range(self._site.lost):
            self._env.process(self._loss(self._chance.uniform(0, work)))
        self._env.run(until=self._env.process(self._drive()))
        counts = [machine.done for machine in self._machines.values()]
        return Outcome(
            makespan=self._env.now,
            steps_run=self._run,
            busiest=max(counts) * len(counts) / max(1, sum(counts)),
            downloaded=self._registry.down.carried,
            uploaded=self._registry.up.carried,
            from_workers=self._from_workers,
            requests=sum(self._registry.requests.values()),
            peak=max(self._registry.requests.values(), default=0),
        )

    def _join(self) -> None:
        self._joined += 1
        rate = self._site.worker_rate
        worker = Worker(
            name=f"w{self._joined}",
            slots=self._site.slots,
            platforms=frozenset([PLATFORM]),
            bytes_per_second=rate,
        )
        slow, workers = self._site.slow, self._site.workers
        slowness = SLOWNESS if self._joined * slow // workers > (self._joined - 1) * slow // workers else 1
        self._machines[worker.name] = Machine(worker=worker, down=Link(rate), up=Link(rate), slowness=slowness)
        self._placement.add_worker(worker)
        self._tell()

    def _tell(self) -> None:
        """Wake the driver."""
        if not self._news.triggered:
            self._news.succeed()

    def _offer(self, name: str) -> None:
        """Hand a step to placement if all it needs is there."""
        node = self._graph[name]
        if name in self._offered or name in self._made or not self._made.issuperset(node.needs):
            return
        self._offered.add(name)
        self._seconds_ahead -= self._ahead.pop(name, 0.0)
        if self._site.expects:
            self._placement.expect(self._seconds_ahead)
        self._placement.add_step(self._step(name))
        self._tell()

    def _step(self, name: str) -> Step:
        node = self._graph[name]
        layers = ((node.base, BASES[node.base]), *((below, self._graph[below].size) for below in node.needs))
        return Step(name=name, platform=PLATFORM, seconds=self._seconds[name], rank=self._ranks[name], layers=layers)

    def _drive(self) -> Process:
        """Hand out what placement chooses, whenever there is news and whenever it asks to be asked again."""
        while len(self._made) < len(self._graph):
            self._news = self._env.event()
            self._speculate()
            for chosen in self._placement.choose(self._env.now):
                machine = self._machines[chosen.worker]
                if self._speculation is not None:
                    at = self._at.setdefault(chosen.step, [])
                    at.append(chosen.worker)
                    self._speculation.began(self._step(chosen.step), at, self._env.now)
                self._second_tries.discard(chosen.step)
                machine.steps[chosen.step] = self._env.process(self._execute(chosen, machine))
            due = self._placement.wakes_at()
            timer = [self._env.timeout(max(0.0, due - self._env.now))] if due is not None else []
            timer += [self._env.timeout(LOOK_SECONDS)] if self._speculation is not None else []
            yield self._env.any_of([self._news, *timer])

    def _speculate(self) -> None:
        """Have one late step tried by a second worker, as the driver does."""
        if self._speculation is None:
            return
        for twin in self._speculation.late(self._env.now, self._placement):
            self._speculation.ended(twin.name, self._env.now, made=False)
            self._second_tries.add(twin.name)
            self._placement.add_step(twin)
            return

    def _execute(self, chosen: Assignment, machine: Machine) -> Process:
        """Be one step on one worker: the order, the layers, the command, the news of its end."""
        with contextlib.suppress(simpy.Interrupt):
            yield from self._executed(self._graph[chosen.step], machine)

    def _executed(self, node: Node, machine: Machine) -> Process:
        env = self._env
        yield env.timeout(self._order() - env.now + self._site.latency)
        for layer in (node.base, *node.needs):
            if layer not in machine.has:
                if (there := self._fetch(layer, machine)) is None:
                    self._give_back(node, machine)
                    return
                began = env.now
                yield env.timeout(max(0.0, there - began))
                machine.has.add(layer)
                if self._machines.get(machine.worker.name) is machine:
                    self._placement.saw_transfer(machine.worker.name, self._size(layer), there - began)
        yield env.timeout(node.seconds * machine.slowness)
        machine.has.add(node.name)
        machine.done += 1
        self._run += 1
        env.process(self._upload(node, machine))
        yield env.timeout(self._site.latency)
        if self._machines.get(machine.worker.name) is machine:
            del machine.steps[node.name]
            self._end(node, machine)

    def _order(self) -> float:
        """Return when the driver has handed the step out: it hands out one after another."""
        self._driver_free_at = max(self._env.now, self._driver_free_at) + self._site.driver_seconds
        return self._driver_free_at

    def _size(self, layer: str) -> int:
        return BASES[layer] if layer in BASES else self._graph[layer].size

    def _fetch(self, layer: str, machine: Machine) -> float | None:
        """Return when a layer will be there; None: nobody has it any longer."""
        now, size = self._env.now, self._size(layer)
        if layer in self._registry.has:
            self._registry.asked(now, REQUESTS_OF_DOWNLOAD)
            return max(self._registry.down.carry(now, size), machine.down.carry(now, size))
        holders = [other for other in self._machines.values() if layer in other.has]
        if not holders:
            return None
        self._from_workers += size
        return max(min(holders, key=lambda one: one.up.free_at).up.carry(now, size), machine.down.carry(now, size))

    def _upload(self, node: Node, machine: Machine) -> Process:
        """Send a layer to the registry, which has it if the worker lives as long."""
        now = self._env.now
        self._registry.asked(now, REQUESTS_OF_UPLOAD)
        ends = max(self._registry.up.carry(now, node.size), machine.up.carry(now, node.size))
        yield self._env.timeout(ends - now)
        if self._machines.get(machine.worker.name) is machine:
            self._registry.has.add(node.name)

    def _end(self, node: Node, machine: Machine) -> None:
        """Tell placement and offer what can begin now."""
        self._placement.finish(node.name, machine.worker.name, self._env.now, [node.name])
        self._stop_others(node.name)
        if self._speculation is not None:
            self._speculation.ended(node.name, self._env.now, made=True)
        self._offered.discard(node.name)
        self._made.add(node.name)
        for name in self._after[node.name]:
            self._offer(name)
        self._tell()

    def _stop_others(self, name: str) -> None:
        """End the second try of a step, or the first."""
        if name in self._second_tries:
            self._second_tries.discard(name)
            self._placement.cancel(name)
        if self._speculation is None:
            return
        for other in [self._machines[worker] for worker in self._at.pop(name)]:
            process = other.steps.pop(name, None)
            if process is not None:
                process.interrupt()
                self._placement.finish(name, other.worker.name, self._env.now)

    def _give_back(self, node: Node, machine: Machine) -> None:
        """End a step whose layers were lost while it was on its way; it is offered again when they are made."""
        del machine.steps[node.name]
        self._placement.finish(node.name, machine.worker.name, self._env.now)
        self._placement.drop(machine.worker.name, [name for name in node.needs if name not in machine.has])
        self._offered.discard(node.name)
        self._offer(node.name)
        self._tell()

    def _loss(self, at: float) -> Process:
        """Lose a worker at a moment, all it was doing, and the layers that nobody else has; another comes later."""
        yield self._env.timeout(at)
        name = self._chance.choice(sorted(self._machines))
        machine = self._machines.pop(name)
        for process in machine.steps.values():
            process.interrupt()
        lost = self._placement.remove_worker(name)
        self._offered.difference_update(lost)
        elsewhere = self._registry.has.union(*(other.has for other in self._machines.values()))
        for layer in machine.has - elsewhere - BASES.keys():
            self._lose_layer(layer)
        for step in (*lost, *(machine.has - self._made - BASES.keys())):
            self._offer(step)
        yield self._env.timeout(REPLACED_AFTER)
        self._join()

    def _lose_layer(self, layer: str) -> None:
        """Take a step for not done; what waits for a worker and needs it is taken back."""
        self._made.discard(layer)
        running = {name for machine in self._machines.values() for name in machine.steps}
        for name in self._after[layer]:
            if name in self._offered - running:
                self._placement.cancel(name)
                self._offered.discard(name)
