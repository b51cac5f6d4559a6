"""A worker's side: it makes units in processes of their own, for the drivers that are connected, and hands out blobs.

tiffin_hello          who this is: version, tier, platforms, slots, its public key
tiffin_session        one connection of each driver, both ways, for as long as it builds: units, events, results,
                      questions. When it breaks off or falls silent, the driver's units are stopped.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, BinaryIO, cast

from distributed import Worker, WorkerPlugin, get_worker
from distributed.comm import Comm, CommClosedError
from distributed.core import Status

from tiffin.builder.errors import CorruptError, StoreError, TiffinError
from tiffin.builder.farm.dask.blobs import GET, PUT, fetch_blob, send_blob, take_blobs
from tiffin.builder.farm.dask.lines import Lines
from tiffin.builder.farm.dask.sessions import CHILD, DriverSession, RunningUnit, UnitServer
from tiffin.builder.farm.pipes import read_frame, write_frame
from tiffin.builder.farm.sealing import WorkerKey
from tiffin.builder.farm.values import MACHINE, AskBlob, Brought, Ended, Failure, Filling, Message, Records, Start, Stop
from tiffin.builder.value_bytes import decode, encode
from tiffin.builder.version import VERSION
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.statedir import StateDir

NAME = "tiffin"
HELLO, SESSION = "tiffin_hello", "tiffin_session"
SILENT_SECONDS = 8.0  # of a driver, after which its units are stopped
GRACE_SECONDS = 1.5  # for a unit to end in order
START_SECONDS = 30.0  # until a unit comes that the scheduler told of
LABELS_VARIABLE, ISOLATION_VARIABLE = "TIFFIN_FARM_LABELS", "TIFFIN_ISOLATION"


class FarmPlugin(WorkerPlugin):  # type: ignore[misc]  # Dask's is not typed
    """Makes a Dask worker one of a farm: `tiffin farm worker` has it from the start, others when a driver comes."""

    name = NAME

    def __init__(self) -> None:
        self.host: UnitHost | None = None

    async def setup(self, worker: Worker) -> None:
        """Begin to answer drivers."""
        host = self.host = UnitHost(worker)
        await host.describe()
        worker.handlers.update({HELLO: host.hello, SESSION: host.session, GET: host.get, PUT: host.put})

    async def teardown(self, worker: Worker) -> None:
        """Stop what runs."""
        if self.host is not None:
            await self.host.close()


async def become_worker(dask_worker: Worker) -> str:
    """Make a Dask worker one of a farm, unless it is (Dask would end and begin again what it has, with all its
    processes); return why it cannot be one, "" if it can.
    """
    if NAME in dask_worker.plugins:
        return ""
    try:
        await dask_worker.plugin_add(FarmPlugin(), NAME, catch_errors=False)
    except Exception as exc:  # whatever it is, the driver tells it, and does without this worker
        await dask_worker.plugin_remove(NAME)
        return str(exc)
    return ""


def run_unit(name: str) -> None:
    """Make a unit, as a task of Dask; its driver told this worker what it is, and is told what becomes of it."""
    host = get_worker().plugins[NAME].host
    assert host is not None
    host.run(name)


class UnitHost:
    """What makes units on one worker. Its state directory is that of the environment."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._state = StateDir.open(StateDir.default_root(os.environ))
        self._blobs = BlobStore(self._state)
        self._key = WorkerKey()
        self._machine: Mapping[str, Any] = {}
        self._server = UnitServer(worker.state.nthreads)
        self._lines = Lines(worker.security.get_connection_args("worker"))
        self._changed = threading.Condition()  # guards the next
        self._units: dict[str, RunningUnit] = {}
        self._over: set[str] = set()  # units that are no longer wanted, of which the scheduler may still tell
        self._filling = threading.Semaphore(worker.state.nthreads)  # how many more units may be at the shared caches
        self._fetching: dict[Digest, asyncio.Task[bool]] = {}

    async def describe(self) -> None:
        """Find out what this machine can. Raises StoreError where it cannot be asked."""
        command = (sys.executable, "-m", CHILD, os.environ.get(ISOLATION_VARIABLE, ""))
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        found, errors = await process.communicate()
        if process.returncode:
            reason = errors.decode(errors="replace").strip().splitlines()[-1:]
            raise StoreError(f"this machine cannot be a worker: {' '.join(reason)}", remedy="see tiffin info")
        self._machine = json.loads(found)
        await asyncio.to_thread(self._server.prepare)

    @property
    def tier(self) -> str:
        """The tier in which commands run here."""
        return str(self._machine["tier"])

    async def hello(self) -> dict[str, Any]:
        """Answer who this is."""
        labels = [label for label in os.environ.get(LABELS_VARIABLE, "").split(",") if label]
        return {
            **self._machine,
            "version": VERSION,
            "python": list(sys.version_info[:2]),
            "name": str(self._worker.name),
            "slots": self._worker.state.nthreads,
            "labels": labels,
            "public_key": self._key.public,
            "busy": self.busy(),
        }

    def busy(self, driver: DriverSession | None = None) -> int:
        """Return how many units are made here, those of one driver left out."""
        units = [running for running in self._units.values() if running.driver is not driver]
        return sum(running.process is not None and not running.is_filling for running in units)

    async def get(self, comm: Comm, digest: str) -> Status:
        """Hand a blob out."""
        await send_blob(comm, self._blobs, Digest.parse(digest))
        return Status.dont_reply

    async def put(self, comm: Comm, files: Sequence[Sequence[Any]]) -> Status:
        """Take blobs that a driver brings."""
        await take_blobs(comm, self._blobs, files)
        return Status.dont_reply

    # -- drivers -------------------------------------------------------------------------------------------------------

    async def session(self, comm: Comm) -> Status:
        """Work for a driver until it goes."""
        driver = DriverSession(comm)
        writing = asyncio.ensure_future(driver.write(self.busy))
        try:
            while True:
                message = await asyncio.wait_for(comm.read(), SILENT_SECONDS)
                for data in message["values"]:
                    self._take(driver, decode(data))
        except (CommClosedError, TimeoutError, OSError, CorruptError, KeyError, TypeError):
            pass
        finally:
            driver.leave()
            writing.cancel()
            self._stop([running for running in self._units.values() if running.driver is driver])
            comm.abort()
        return Status.dont_reply

    def _take(self, driver: DriverSession, value: object) -> None:
        if isinstance(value, Start):
            with self._changed:
                self._units[value.unit] = RunningUnit(driver, value)
                self._changed.notify_all()
        elif isinstance(value, Stop):
            self._stop([running for name, running in self._units.items() if name == value.unit])
        elif isinstance(value, Message):
            running = self._units.get(value.unit)
            if running is not None:
                if isinstance(value, Records):
                    running.learn(value.holders)
                threading.Thread(target=running.send, args=(value,), daemon=True).start()

    def _stop(self, units: Sequence[RunningUnit]) -> None:
        """End processes: in order, and those that do not by force."""
        for running in units:
            running.signal(signal.SIGTERM)
            self._loop.call_later(GRACE_SECONDS, running.signal, signal.SIGKILL)
        with self._changed:
            for name, running in list(self._units.items()):
                if running in units and running.process is None:
                    del self._units[name]
                    self._over.add(name)
            self._changed.notify_all()

    async def close(self) -> None:
        """End everything."""
        units = list(self._units.values())
        for running in units:
            running.signal(signal.SIGTERM)
        for _ in range(int(GRACE_SECONDS * 20)):
            if not any(running.process is not None and running.process.poll() is None for running in units):
                break
            await asyncio.sleep(0.05)
        for running in units:
            running.signal(signal.SIGKILL)
        self._server.close()
        self._lines.close()

    # -- units, in a thread of Dask ------------------------------------------------------------------------------------

    def run(self, name: str) -> None:
        """Make a unit; its driver is told what comes of it. Returns when another may have its slot: what it brings into
        shared caches takes no processor.
        """
        with self._changed:
            self._changed.wait_for(lambda: name in self._units or name in self._over, START_SECONDS)
            running = self._units.get(name)
            self._over.discard(name)
        if running is None:
            return  # its driver is gone, or wants it no longer
        threading.Thread(target=self._carry_out, args=(running, name), daemon=True).start()
        running.wait_free()

    def _carry_out(self, running: RunningUnit, name: str) -> None:
        try:
            running.driver.tell(encode(self._made(running, name)))
        finally:
            if running.is_filling:
                self._filling.release()
            running.free()
            with self._changed:
                if self._units.get(name) is running:  # it may have been sent here again by then
                    del self._units[name]

    def _made(self, running: RunningUnit, name: str) -> Ended:
        """Return how a unit ended."""
        try:
            data = self._key.open(running.start.sealed)
            running.opened(decode(data))
            process = running.begin(self._server.start)
        except (TiffinError, OSError) as exc:
            return Ended(unit=name, failure=Failure(kind=MACHINE, message=str(exc)))
        if process is None:
            return Ended(unit=name, failure=Failure(kind=MACHINE, message="it was stopped"))
        ended: Ended | None = None
        with process:
            try:
                write_frame(cast(BinaryIO, process.stdin), data)
                while (frame := read_frame(cast(BinaryIO, process.stdout))) is not None:
                    value = decode(frame)
                    if isinstance(value, Ended):
                        ended = value
                    elif isinstance(value, AskBlob) and not value.last:
                        self._bring(running, value)
                    else:
                        if isinstance(value, Filling) and not running.is_filling:
                            self._filling.acquire()
                            running.fill()
                        running.driver.tell(frame)
            except (OSError, CorruptError) as exc:
                running.signal(signal.SIGKILL)
                ended = Ended(unit=name, failure=Failure(kind=MACHINE, message=str(exc)))
        code = process.returncode
        reason = "" if code is None else f" by signal {-code}" if code < 0 else f" with {code}"
        return ended or Ended(
            unit=name, failure=Failure(kind=MACHINE, message=f"the process of the step ended{reason}")
        )

    def _bring(self, running: RunningUnit, ask: AskBlob) -> None:
        """Bring a blob here from another worker, beside what the process does."""

        def answer(future: Future[bool]) -> None:
            failed = future.cancelled() or future.exception() is not None
            brought = Brought(unit=ask.unit, digest=ask.ref.digest, is_here=not failed and future.result())
            threading.Thread(target=running.send, args=(brought,), daemon=True).start()

        future = asyncio.run_coroutine_threadsafe(self._fetched(running, ask), self._loop)
        future.add_done_callback(answer)

    async def _fetched(self, running: RunningUnit, ask: AskBlob) -> bool:
        """Bring a blob here, once for all who ask for it."""
        digest = ask.ref.digest
        if self._blobs.has(digest):
            return True
        task = self._fetching.get(digest)
        if task is None:
            assert running.unit is not None
            task = asyncio.ensure_future(self._fetch(ask, running.unit.holders.get(digest, ())))
            self._fetching[digest] = task
            task.add_done_callback(lambda _: self._fetching.pop(digest, None))
        return await asyncio.shield(task)

    async def _fetch(self, ask: AskBlob, holders: Sequence[str]) -> bool:
        ref, own = ask.ref, self._worker.address
        for address in holders:
            if address != own and await fetch_blob(address, self._lines, ref.digest, ref.size_bytes, self._blobs):
                return True
        return False
