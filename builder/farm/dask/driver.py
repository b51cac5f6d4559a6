"""The driver's side of a farm: who is there, and a connection to each worker.

All of it lives in the loop of Dask's client, which has a thread of its own; other threads only hand jobs in.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

from distributed import Client

from tiffin.builder.errors import BuildError, CanceledError, StoreError, TiffinError
from tiffin.builder.farm.address import FarmAccess
from tiffin.builder.farm.dask.answers import first_line
from tiffin.builder.farm.dask.blobs import fetch_blob
from tiffin.builder.farm.dask.dispatch import Dispatch
from tiffin.builder.farm.dask.host import become_worker
from tiffin.builder.farm.dask.lines import Lines
from tiffin.builder.farm.dask.member import Member, NotYetError, meet
from tiffin.builder.farm.dask.trust import security_of
from tiffin.builder.farm.jobs import Job
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.snapshots import BlobRef

MARK_BYTES = 8  # of a driver, in the names of its units
START_SECONDS = 15.0  # until the scheduler answers
LOOK_SECONDS = 0.5  # between looks at who is there
NAMESAKE_SECONDS = 20.0  # in which a worker is found lost whose place another one took
RETRY_SECONDS = 2.0  # before a worker is asked again that did not answer
GONE_SECONDS = 10.0  # without a scheduler, after which nothing more is expected
MEANWHILE_SECONDS = 1.0  # until the first steps are at work
STOP_SECONDS = 1.0  # for the workers to be told that nothing is wanted any more


def silence() -> None:
    """Have Dask say what matters only; these of its loggers have levels of their own."""
    for name in ("distributed", "distributed.client", "distributed.gc", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


class Farm:
    """A farm that one command uses; made when a step has to run there. `warn` is told what is amiss with workers;
    `meanwhile` is called once the workers have something to do, and the driver has nothing.

    Raises BuildError where its scheduler does not answer.
    """

    def __init__(
        self, access: FarmAccess, warn: Callable[[str], None], meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        self._access = access
        self._warn = warn
        self._addresses: dict[str, Member] = {}
        self._namesakes: dict[str, float] = {}  # addresses of workers that are called as others are, and since when
        self._meeting: set[str] = set()  # addresses of workers that are asked who they are
        self._not_before: dict[str, float] = {}  # addresses that did not answer, or are refused, and when to ask again
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count(1)
        self._mark = os.urandom(MARK_BYTES).hex()  # not of Dask's id of a client: its end is that of the machine
        self._ended = threading.Event()
        self._broken: BaseException | None = None  # what went wrong unforeseen: nothing is made here any more
        silence()
        security = security_of(access.trust)
        self._arguments = security.get_connection_args("client")
        self._lines = Lines(self._arguments)
        try:
            self._client = Client(access.address, security=security, timeout=START_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError, RuntimeError) as exc:
            raise BuildError(
                f"the farm at {access.address} does not answer: {first_line(exc)}",
                remedy="start its scheduler (tiffin farm scheduler), with certificates of one authority for all, "
                "or build without --farm",
            ) from exc
        self._loop = cast(asyncio.AbstractEventLoop, self._client.loop.asyncio_loop)
        self._dispatch = Dispatch(
            self._client,
            self._lines,
            self._spawn,
            self._lost,
            access.wait_seconds,
            speculates=access.speculates,
        )
        self._loop.call_soon_threadsafe(self._spawn, self._follow())
        self._loop.call_soon_threadsafe(self._spawn, self._do_meanwhile(meanwhile))

    # -- from other threads --------------------------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Have a job made; its results come in its queue."""
        self._loop.call_soon_threadsafe(self._submit, job)

    def expect(self, build: object, seconds: float) -> None:
        """Note what the steps of a build take that it has not submitted yet, and may have to."""
        self._loop.call_soon_threadsafe(self._dispatch.expect, build, seconds)

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Want these jobs no longer; returns when their workers were told, or after a second."""
        for job in jobs:
            job.end(CanceledError())
        with contextlib.suppress(TimeoutError, RuntimeError):
            asyncio.run_coroutine_threadsafe(self._dispatch.cancel(jobs), self._loop).result(STOP_SECONDS)

    def new_name(self, text: str) -> str:
        """Return a name of a unit that no other has, from what people call it."""
        return f"{text} #{self._mark}.{next(self._numbers)}"

    def fetch(self, ref: BlobRef, blobs: BlobStore) -> bool:
        """Bring a packed layer to this machine from a worker that has it."""
        if self._ended.is_set():
            return False
        future = asyncio.run_coroutine_threadsafe(self._fetch(ref, blobs), self._loop)
        while not self._ended.is_set():  # when the farm is left, its loop ends, and what it was at does not
            with contextlib.suppress(TimeoutError):
                return future.result(LOOK_SECONDS)
        future.cancel()
        return False

    def close(self) -> None:
        """Leave the farm."""
        if self._ended.is_set():
            return
        self._ended.set()
        with contextlib.suppress(TimeoutError, RuntimeError):
            asyncio.run_coroutine_threadsafe(self._leave(), self._loop).result(STOP_SECONDS)
        with contextlib.suppress(Exception):  # whatever it is, nobody needs it any more
            self._client.close(timeout=STOP_SECONDS)

    # -- in the loop ---------------------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin to do something; what goes wrong unforeseen ends all jobs, and does not hang."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._ended.is_set():
            self._broken = error
            self._fail(error)

    def _submit(self, job: Job) -> None:
        if self._broken is not None:
            job.end(self._broken)
            return
        try:
            self._dispatch.submit(job)
        except Exception as exc:  # whatever it is: nobody is to wait for ever
            self._broken = exc
            self._fail(exc)

    def _fail(self, error: BaseException) -> None:
        for job in self._dispatch.everything():
            job.end(error)

    async def _follow(self) -> None:
        """Keep to who is there."""
        answered = self._loop.time()
        while not self._ended.is_set():
            try:
                found = await asyncio.wait_for(self._client.scheduler.identity(n_workers=-1), START_SECONDS)
                answered = self._loop.time()
                await self._keep_to([str(address) for address in found["workers"]])
            except (OSError, TimeoutError):
                if self._loop.time() - answered > GONE_SECONDS:
                    self._fail(BuildError(f"the farm at {self._access.address} is gone", remedy="build again"))
            self._dispatch.give_up(len(self._meeting))
            self._dispatch.place()
            self._dispatch.speculate()
            await asyncio.sleep(LOOK_SECONDS)

    async def _do_meanwhile(self, what: Callable[[], object]) -> None:
        await asyncio.sleep(MEANWHILE_SECONDS)
        await asyncio.to_thread(what)

    async def _keep_to(self, addresses: Sequence[str]) -> None:
        for gone in [address for address in self._addresses if address not in addresses]:
            await self._lost(self._addresses[gone], "it left the farm")
        now = self._loop.time()
        fresh = [
            address
            for address in addresses
            if address not in self._addresses
            and address not in self._meeting
            and now >= self._not_before.get(address, 0.0)
        ]
        for address in fresh:  # one that does not answer keeps nobody waiting
            self._meeting.add(address)
            self._spawn(self._meet(address))

    async def _meet(self, address: str) -> None:
        try:
            member = await self._met(address)
        except TiffinError as exc:
            self._not_before[address] = float("inf")
            self._warn(f"{exc.message}: it is left out; {exc.remedy}")
            return
        except (OSError, TimeoutError):
            self._not_before[address] = self._loop.time() + RETRY_SECONDS
            return
        finally:
            self._meeting.discard(address)
        if member.name in self._dispatch.members:
            member.leave()
            self._not_before[address] = self._loop.time() + RETRY_SECONDS
            self._leave_out_namesake(address, member.name)
            return
        self._namesakes.pop(address, None)
        self._addresses[address] = member
        self._dispatch.add(member)
        self._spawn(self._listen(member))
        self._spawn(member.beat())

    async def _met(self, address: str) -> Member:
        """Connect to a worker, and make it one of a farm before if it is not. Raises what `meet` raises, and StoreError
        for one that cannot be.
        """
        with contextlib.suppress(NotYetError):
            return await meet(address, self._arguments, self._access.trust)
        try:
            answers = await self._client.run(become_worker, workers=[address], asynchronous=True)
            reason = answers[address]
        except (OSError, TimeoutError, KeyError) as exc:
            raise OSError(f"it is gone: {exc}") from exc
        except Exception as exc:  # whatever its environment makes of it
            reason = first_line(exc)
        if reason:
            remedy = "install the same tiffin there"
            raise StoreError(f"worker {address} cannot be one of the farm ({reason})", remedy=remedy)
        return await meet(address, self._arguments, self._access.trust)

    def _leave_out_namesake(self, address: str, name: str) -> None:
        """Do without a worker that is called as another one is, once it is sure that the other one is not lost."""
        now = self._loop.time()
        if now - self._namesakes.setdefault(address, now) > NAMESAKE_SECONDS:
            self._not_before[address] = float("inf")
            self._warn(f"two workers are called {name}: that at {address} is left out; give it another --name")

    async def _listen(self, member: Member) -> None:
        await self._lost(member, await member.listen(self._dispatch.take))

    async def _lost(self, member: Member, reason: str) -> None:
        """Do without a worker."""
        if member.is_gone:
            return
        member.leave()
        if self._addresses.get(member.address) is member:
            del self._addresses[member.address]
            self._not_before[member.address] = self._loop.time() + RETRY_SECONDS
        if not self._ended.is_set():
            self._dispatch.remove(member, reason)

    async def _fetch(self, ref: BlobRef, blobs: BlobStore) -> bool:
        for address in self._dispatch.holders(Digest.parse(str(ref.digest))):
            if await fetch_blob(address, self._lines, ref.digest, ref.size_bytes, blobs):
                return True
        return False

    async def _leave(self) -> None:
        self._lines.close()
        for member in list(self._addresses.values()):
            member.leave()
        for task in list(self._tasks):
            task.cancel()
