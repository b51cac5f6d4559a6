"""A worker as a driver knows it, with the connection that lasts as long as both work together."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from distributed.comm import Comm

from tiffin.builder.errors import CorruptError, StoreError
from tiffin.builder.farm.address import FarmTrust, check_reach
from tiffin.builder.farm.dask.host import HELLO, SESSION
from tiffin.builder.farm.dask.lines import CONNECT_SECONDS
from tiffin.builder.farm.dask.sessions import BEAT_SECONDS
from tiffin.builder.farm.dask.trust import connected
from tiffin.builder.farm.fleet import Worker
from tiffin.builder.farm.jobs import Job
from tiffin.builder.farm.values import Alive
from tiffin.builder.value_bytes import decode, encode
from tiffin.builder.version import VERSION
from tiffin.cache.foundation.digest import Digest

HELLO_SECONDS = 15.0
SILENT_SECONDS = 10.0  # of a worker, after which it is taken for lost
Pieces = Callable[[Digest], Iterable[bytes]]
Put = Callable[[Sequence[tuple[Digest, int]], Pieces], Coroutine[Any, Any, int]]
ISOLATION = "isolation="  # how a label begins that tells the tier in which commands run


class NotYetError(OSError):
    """A worker of Dask that is not one of a farm yet."""


class Member:
    """One worker. `units` are the jobs it works at, by the name of the try, which no other try has; `filling` those of
    which it brings layers into shared caches, and nothing more; `layers` the packed layers and files that it holds.
    """

    def __init__(self, address: str, hello: Mapping[str, Any], comm: Comm) -> None:
        self.address = address
        self.name = str(hello["name"])
        self.public_key = bytes(hello["public_key"])
        self.slots = int(hello["slots"])
        self.busy = int(hello["busy"])  # slots that other drivers use
        self.units: dict[str, Job] = {}
        self.filling: dict[str, Job] = {}
        self.layers: set[str] = set()
        self.is_gone = False
        self.worker = _worker(hello)
        self._coming: dict[Digest, asyncio.Future[int]] = {}  # files that are on their way to it
        self._comm = comm
        self._lock = asyncio.Lock()

    def begin(self, unit: str, job: Job) -> None:
        """Note that it works at a job."""
        self.units[unit] = job

    def fill(self, unit: str, job: Job) -> None:
        """Note that what is left of a job is to bring its layers into shared caches."""
        job.fills()
        self.filling[unit] = job

    def filled(self, unit: str, shared: Collection[Digest] = ()) -> None:
        """Note that it brings nothing more of a job into shared caches, and which layers are there."""
        job = self.filling.pop(unit, None)
        if job is not None:
            job.filled(shared)

    def end(self, job: Job) -> str:
        """Note that it no longer does; return the name of its try, "" if it did not."""
        unit = self.unit_of(job)
        self.units.pop(unit, None)
        return unit

    def unit_of(self, job: Job) -> str:
        """Return the name of its try of a job, "" without one."""
        return next((unit for unit, other in self.units.items() if other is job), "")

    def hold(self, layers: Iterable[str]) -> None:
        """Note that it has packed layers, or files."""
        self.layers.update(layers)

    async def bring(self, files: Mapping[Digest, int], put: Put, pieces: Pieces) -> int:
        """Bring files that it lacks; return the bytes sent. What is on its way already is only waited for, and brought
        if it did not come. Raises what `put` raises.
        """
        sent = 0
        while lacks := [file for file in files.items() if str(file[0]) not in self.layers]:
            others = [self._coming[digest] for digest, _ in lacks if digest in self._coming]
            ours = [(digest, size) for digest, size in lacks if digest not in self._coming]
            if ours:
                sending = asyncio.ensure_future(put(ours, pieces))
                self._coming.update((digest, sending) for digest, _ in ours)
                try:
                    sent += await sending
                    self.hold(str(digest) for digest, _ in ours)
                finally:
                    for digest, _ in ours:
                        del self._coming[digest]
            if others:
                await asyncio.wait(others)
        return sent

    def uses(self, slots: int) -> None:
        """Note how many slots other drivers use."""
        self.busy = slots

    async def tell(self, value: object) -> None:
        """Send a value. Raises OSError where the connection ended."""
        async with self._lock:
            await self._comm.write({"values": [encode(value)]})

    async def beat(self) -> None:
        """Send signs of life until the connection ends."""
        try:
            while not self.is_gone:
                await self.tell(Alive())
                await asyncio.sleep(BEAT_SECONDS)
        except OSError:
            return

    async def listen(self, take: Callable[[Member, object], None]) -> str:
        """Give `take` what comes, until nothing more does; return why."""
        try:
            while not self.is_gone:
                message = await asyncio.wait_for(self._comm.read(), SILENT_SECONDS)
                for data in message["values"]:
                    take(self, decode(data))
        except TimeoutError:
            return f"it said nothing for {SILENT_SECONDS:.0f} seconds"
        except (KeyError, TypeError, CorruptError) as exc:
            return f"it sent what cannot be read ({exc})"
        except OSError:
            pass
        return "its connection ended"

    def leave(self) -> None:
        """End the connection."""
        self.is_gone = True
        for unit in list(self.filling):
            self.filled(unit)
        self._comm.abort()


async def meet(address: str, arguments: Mapping[str, Any], trust: FarmTrust) -> Member:
    """Connect to a worker. Raises OSError, TimeoutError where it does not answer (any more, or yet), NotYetError for
    one that is not of a farm, and StoreError, UsageError for one that cannot serve.
    """
    if not trust:
        check_reach(address, "the worker")
    comm = await connected(address, CONNECT_SECONDS, arguments)
    try:
        await comm.write({"op": HELLO})
        hello = await asyncio.wait_for(comm.read(), HELLO_SECONDS)
        if not isinstance(hello, dict) or "version" not in hello:
            raise NotYetError
        _check(address, hello)
        await comm.write({"op": SESSION, "reply": False})
        return Member(address, hello, comm)
    except BaseException:
        comm.abort()
        raise


def _check(address: str, hello: Mapping[str, Any]) -> None:
    """Raise StoreError for a worker of another version."""
    version, python = str(hello["version"]), tuple(hello["python"])
    if version != VERSION or python != sys.version_info[:2]:
        theirs = f"tiffin {version} and Python {'.'.join(map(str, python))}"
        ours = f"tiffin {VERSION} and Python {'.'.join(map(str, sys.version_info[:2]))}"
        raise StoreError(
            f"worker {hello['name']} ({address}) has {theirs}, and this is {ours}", remedy="use the same everywhere"
        )


def _worker(hello: Mapping[str, Any]) -> Worker:
    """Return what placement is to know; a worker that isolates nothing runs no commands."""
    runs = bool(hello["runs"])
    return Worker(
        name=str(hello["name"]),
        slots=int(hello["slots"]),
        platforms=frozenset(f"linux/{name}" for name in hello["native"]) if runs else frozenset(),
        emulated=frozenset(f"linux/{name}" for name in hello["emulated"]) if runs else frozenset(),
        cores=float(hello["cores"]),
        memory_bytes=int(hello["memory_bytes"]),
        labels=frozenset({*hello["labels"], f"{ISOLATION}{hello['tier']}"}),
    )
