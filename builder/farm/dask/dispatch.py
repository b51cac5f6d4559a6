"""What goes where, and what comes back: jobs from their placement to their end. All of it in one loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any

from distributed import CancelledError as DaskCancelledError
from distributed import Client, Future

from tiffin.builder.errors import BuildError, StoreError, TiffinError
from tiffin.builder.events import Event, StepCached, StepStarted, WarningMessage
from tiffin.builder.farm.dask.answers import answer_to, first_line
from tiffin.builder.farm.dask.blobs import put_blobs
from tiffin.builder.farm.dask.host import run_unit
from tiffin.builder.farm.dask.lines import Lines
from tiffin.builder.farm.dask.member import Member
from tiffin.builder.farm.jobs import Job, layers_of
from tiffin.builder.farm.placement import Placement
from tiffin.builder.farm.sealing import seal
from tiffin.builder.farm.speculation import Speculation
from tiffin.builder.farm.values import (
    MACHINE,
    OWN,
    Alive,
    AskAgent,
    AskBlob,
    AskRecord,
    Brought,
    Ended,
    Failure,
    Filling,
    Happened,
    Made,
    Message,
    Start,
    Stop,
    error_of,
)
from tiffin.builder.value_bytes import encode
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import replace

MEASURED_BYTES = 1 << 20  # what is less tells of a worker's delay, and not of its rate
MAX_HELD = 10_000  # events of a second try
LATE_SECONDS = 10.0  # for the result of a unit to come, after Dask says that it is over
Spawn = Callable[[Coroutine[Any, Any, None]], None]


class Dispatch:
    """The jobs of one command on its farm. `lost` is told of a worker that does not take what it is sent; `speculates`:
    a late job is made by a second worker, too. The results of one of both are taken: of that which first has one.
    """

    def __init__(
        self,
        client: Client,
        lines: Lines,
        spawn: Spawn,
        lost: Callable[[Member, str], Coroutine[Any, Any, None]],
        wait_seconds: float,
        *,
        speculates: bool = False,
    ) -> None:
        self.members: dict[str, Member] = {}  # by name
        self._client = client
        self._lines = lines
        self._spawn = spawn
        self._lost = lost
        self._wait_seconds = wait_seconds
        self._placement = Placement()
        self._waiting: dict[str, Job] = {}
        self._at: dict[str, list[Member]] = {}  # who works at a job, by its name; what the first says is shown
        self._held: dict[tuple[str, Member], deque[Event]] = {}  # what the others said
        self._futures: dict[str, Any] = {}  # by the name of a try
        self._foreseen: dict[object, float] = {}  # seconds of steps that builds have not submitted yet
        self._speculation = Speculation() if speculates else None
        self._lonely_since: dict[str, float] = {}

    # -- who is there --------------------------------------------------------------------------------------------------

    def add(self, member: Member) -> None:
        """Have a worker do its part."""
        self.members[member.name] = member
        self._placement.add_worker(member.worker)
        self._occupy(member)
        self.place()

    def remove(self, member: Member, reason: str) -> None:
        """Do without a worker; what it worked at is made by others."""
        if self.members.get(member.name) is not member:
            return
        del self.members[member.name]
        self._placement.remove_worker(member.name)
        failure = Failure(kind=MACHINE, message=f"worker {member.name} was lost: {reason}")
        for job in list(member.units.values()):
            try:
                if self._leave(member, job):
                    self._try_again(member, job, failure)
            except Exception as exc:  # whatever it is: nobody is to wait for this job for ever
                job.end(exc)
        self.place()

    def holders(self, digest: Digest) -> tuple[str, ...]:
        """Return the addresses of the workers that have a packed layer, or a file of the context."""
        return tuple(m.address for m in list(self.members.values()) if str(digest) in m.layers and not m.is_gone)

    def everything(self) -> list[Job]:
        """Return all jobs."""
        at = [(*member.units.values(), *member.filling.values()) for member in self.members.values()]
        jobs = [*self._waiting.values(), *(job for jobs in at for job in jobs)]
        return list({job.name: job for job in jobs}.values())

    def _occupy(self, member: Member) -> None:
        if member.name in self.members:
            self._placement.occupy(member.name, member.busy)

    # -- what goes where -----------------------------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Have a job made."""
        self._waiting[job.name] = job
        self._placement.add_step(job.step)
        self.place()

    def expect(self, build: object, seconds: float) -> None:
        """Note what the steps of a build take that it has not submitted yet, and may have to."""
        if seconds > 0:
            self._foreseen[build] = seconds
        else:
            self._foreseen.pop(build, None)
        self._placement.expect(sum(self._foreseen.values()))

    def place(self) -> None:
        """Start what can be started now."""
        now = time.monotonic()
        for assignment in self._placement.choose(now):
            job, member = self._waiting.pop(assignment.step), self.members[assignment.worker]
            self._lonely_since.pop(job.name, None)
            self._at.setdefault(job.name, []).append(member)
            if self._speculation is not None:
                self._speculation.began(job.step, [other.name for other in self._at[job.name]], now)
            unit = job.next_try()
            member.begin(unit, job)
            self._spawn(self._start(member, job, unit))

    def speculate(self) -> None:
        """Have one late job made by a second worker, too, if this is wanted and somebody is idle."""
        if self._speculation is None:
            return
        now = time.monotonic()
        for twin in self._speculation.late(now, self._placement):
            first = self._at[twin.name][0]
            job = next(job for job in first.units.values() if job.name == twin.name)
            self._speculation.ended(job.name, now, made=False)
            self._waiting[job.name] = job
            self._placement.add_step(twin)
            text = f"{job.label()} takes long at worker {first.name}; another worker tries it, too"
            job.source.sink.emit(WarningMessage(message=text))
            self.place()
            return

    def give_up(self, unanswered: int = 0) -> None:
        """End what no worker could make for too long, twice as long while some workers have not answered yet."""
        now = time.monotonic()
        lonely = {step.name: reason for step, reason in self._placement.unplaceable()}
        for name in [name for name in lonely if self._at.get(name)]:  # a second try, which is not needed
            self._withdraw(name)
            del lonely[name]
        self._lonely_since = {name: self._lonely_since.get(name, now) for name in lonely}
        for name, since in self._lonely_since.items():
            if now - since > self._wait_seconds * (2 if unanswered else 1):
                job = self._waiting[name]
                self._withdraw(name)
                task = job.unit.tasks[0]
                more = f"; {unanswered} more did not answer" if unanswered else ""
                job.end(
                    BuildError(
                        f"no worker of the farm can make this step: {lonely[name]}{more}",
                        span=task.stage.steps[task.number].span,
                        remedy="start such a worker, or build without --farm",
                    )
                )

    def _withdraw(self, name: str) -> None:
        """Have nobody begin a job."""
        if self._waiting.pop(name, None) is not None:
            self._placement.cancel(name)

    async def _start(self, member: Member, job: Job, name: str) -> None:
        """Bring a unit to its worker, and have Dask give it a slot."""
        try:
            await self._bring_files(member, job)
            unit = job.left(self.holders, name)
            if job.is_over or member.is_gone or name not in member.units:
                return
            await member.tell(Start(unit=name, sealed=seal(member.public_key, encode(unit))))
            if name not in member.units:
                return  # the worker was lost meanwhile, or another one was faster
            future = self._client.submit(run_unit, name, key=name, workers=[member.address], pure=False, retries=0)
            self._futures[name] = future
            self._spawn(self._expire(member, job, name, future))
        except (OSError, TimeoutError) as exc:
            await self._lost(member, first_line(exc))
        except StoreError as exc:
            self._failed(member, job, Failure(kind=MACHINE, message=f"worker {member.name}: {exc}"))
        except TiffinError as exc:
            await self._stop(job)
            job.end(exc)

    async def _expire(self, member: Member, job: Job, unit: str, future: Future) -> None:
        """End a try of which Dask says that it is over, and the worker nothing."""
        with contextlib.suppress(DaskCancelledError):
            await future.exception()
        await asyncio.sleep(LATE_SECONDS)
        if unit in member.units:
            self._failed(member, job, Failure(kind=MACHINE, message=f"worker {member.name}: it told of no result"))

    async def _bring_files(self, member: Member, job: Job) -> None:
        began = time.monotonic()
        sent = await member.bring(job.files, partial(put_blobs, member.address, self._lines), job.source.pieces)
        if sent >= MEASURED_BYTES and member.name in self.members:
            self._placement.saw_transfer(member.name, sent, time.monotonic() - began)

    def _leave(self, member: Member, job: Job, layers: Iterable[str] = (), *, made: bool = False) -> bool:
        """Have a worker no longer work at a job; return whether nobody does then, or is about to."""
        unit = member.end(job)
        if unit and member.name in self.members:
            self._placement.finish(job.name, member.name, time.monotonic(), layers)
            if made:
                self._placement.succeeded(member.name)
        future = self._futures.pop(unit, None)
        if future is not None:
            future.release()
        at = self._at.get(job.name, [])
        was_first = bool(at) and at[0] is member
        if member in at:
            at.remove(member)
        self._held.pop((job.name, member), None)
        if at:
            for event in self._held.pop((job.name, at[0]), ()) if was_first else ():
                self._show(at[0], job, event)
            return False
        self._at.pop(job.name, None)
        if self._speculation is not None:
            self._speculation.ended(job.name, time.monotonic(), made=made)
        return job.name not in self._waiting

    def _settle(self, member: Member, job: Job) -> None:
        """Take the results of this worker, and of no other, from now on."""
        self._withdraw(job.name)
        others = [other for other in self._at.get(job.name, []) if other is not member]
        for other in others:
            unit = other.unit_of(job)
            self._leave(other, job)
            self._spawn(self._tell_to_stop(other, unit))
        if others and self._speculation is not None:  # the next step may be late, too
            self._speculation.began(job.step, [member.name], time.monotonic())

    async def _tell_to_stop(self, member: Member, unit: str) -> None:
        with contextlib.suppress(OSError):
            await member.tell(Stop(unit=unit))

    async def _stop(self, job: Job) -> None:
        """Have nobody work at a job; who does is told."""
        self._withdraw(job.name)
        tries = [(member, member.unit_of(job)) for member in self._at.get(job.name, [])]
        for member, _ in tries:
            self._leave(member, job)
        for member in self.members.values():
            tries += [(member, unit) for unit, other in member.filling.items() if other is job]
        await asyncio.gather(*(self._tell_to_stop(member, unit) for member, unit in tries))

    def _failed(self, member: Member, job: Job, failure: Failure) -> None:
        if not member.unit_of(job):
            return  # another worker has it by now
        if failure.kind == OWN:
            self._settle(member, job)
        if self._leave(member, job):
            self._try_again(member, job, failure)
        self.place()

    def _try_again(self, member: Member, job: Job, failure: Failure) -> None:
        """Have another worker make what is left, where the fault is not the step's."""
        if job.is_over:
            return
        if job.is_complete:  # all that was missing is the news that it ended
            job.end()
            return
        job.failed_at(member.name, self.members)
        if failure.kind != MACHINE or job.is_hopeless:
            job.end(error_of(failure))
            return
        rest = self._placement.failed(member.name, time.monotonic()) if member.name in self.members else 0.0
        more = f", and {member.name} gets no step for {rest:.0f} s" if rest else ""
        text = f"{job.label()}: {failure.message}; another worker makes it{more}"
        job.source.sink.emit(WarningMessage(message=text))
        self._waiting[job.name] = job
        self._placement.add_step(job.step)

    # -- what comes back -----------------------------------------------------------------------------------------------

    def take(self, member: Member, value: object) -> None:
        """Take what a worker sent."""
        if isinstance(value, Alive):
            member.uses(value.busy)
            self._occupy(member)
            self.place()
            return
        job = member.units.get(value.unit) if isinstance(value, Message) else None
        if isinstance(value, Message) and value.unit in member.filling:
            self._take_of_filling(member, member.filling[value.unit], value)
        if job is None:
            return  # of a try that is over
        match value:
            case Happened(event=event):
                if self._at[job.name][0] is member:
                    self._show(member, job, event)
                else:
                    self._held.setdefault((job.name, member), deque(maxlen=MAX_HELD)).append(event)
            case Made(made=made):
                self._settle(member, job)
                if made.record.layer is not None:
                    self._hold(member, str(made.record.layer.digest))
                job.made(made)
            case AskRecord() | AskBlob() | AskAgent():
                self._spawn(self._answer(member, job, value))
            case Filling(unit=unit) if job.is_complete:
                member.fill(unit, job)
                self._end(member, job, None)
            case Ended(failure=failure):
                self._end(member, job, failure)

    def _take_of_filling(self, member: Member, job: Job, value: Message) -> None:
        match value:
            case Happened(event=event):
                self._show(member, job, event)
            case AskRecord() | AskBlob() | AskAgent():
                self._spawn(self._answer(member, job, value))
            case Ended(unit=unit, shared=shared):
                member.filled(unit, shared)

    def _show(self, member: Member, job: Job, event: Event) -> None:
        if isinstance(event, (StepStarted, StepCached)):
            event = replace(event, worker=member.name)
        job.source.sink.emit(event)

    def _hold(self, member: Member, *layers: str) -> None:
        member.hold(layers)
        if member.name in self.members:
            self._placement.hold(member.name, layers)

    def _end(self, member: Member, job: Job, failure: Failure | None) -> None:
        if failure is None and not job.is_complete:
            failure = Failure(kind=MACHINE, message="it ended before all was made")
        if failure is not None:
            message = failure.message if failure.kind != MACHINE else f"worker {member.name}: {failure.message}"
            self._failed(member, job, replace(failure, message=message))
            return
        layers = [str(digest) for digest in layers_of(job.unit.tasks)]  # it needed what is below, so it has that
        member.hold(layers)
        self._settle(member, job)
        self._leave(member, job, layers, made=True)
        job.end()
        self.place()

    async def _answer(self, member: Member, job: Job, question: AskRecord | AskBlob | AskAgent) -> None:
        """Answer what a worker asks of the driver."""
        answer = await answer_to(question, member, job, self._lines, self.holders)
        if isinstance(answer, Brought) and answer.is_here:
            self._hold(member, str(answer.digest))
        with contextlib.suppress(OSError):
            await member.tell(answer)

    async def cancel(self, jobs: Sequence[Job]) -> None:
        """Want some jobs no longer; their workers are told."""
        await asyncio.gather(*(self._stop(job) for job in jobs))
