"""What a worker works with: the connection of a driver, a unit that is made, and the processes that make units."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import BinaryIO, cast

from distributed.comm import Comm

from tiffin.builder.farm.pipes import write_frame
from tiffin.builder.farm.values import Alive, Start, Unit
from tiffin.builder.value_bytes import encode

CHILD = "tiffin.builder.api.farm.child"
BEAT_SECONDS = 2.0
MAX_WAITING = 256  # messages for a driver that is slow to take them


class DriverSession:
    """The connection of one driver."""

    def __init__(self, comm: Comm) -> None:
        self.comm = comm
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(MAX_WAITING)
        self._loop = asyncio.get_running_loop()
        self.is_gone = False

    def tell(self, data: bytes) -> None:
        """Send a value, from any thread but the loop's; waits while too many are on their way."""
        if not self.is_gone:
            future = asyncio.run_coroutine_threadsafe(self._waiting.put(data), self._loop)
            while not self.is_gone:
                with contextlib.suppress(TimeoutError):
                    future.result(1.0)
                    return
            future.cancel()

    def leave(self) -> None:
        """Note that it is gone: nothing more is sent."""
        self.is_gone = True

    async def write(self, busy: Callable[[DriverSession], int]) -> None:
        """Send what waits, and signs of life; until cancelled or the connection ends."""
        told = 0.0
        while True:
            batch = []
            with contextlib.suppress(TimeoutError):
                batch.append(await asyncio.wait_for(self._waiting.get(), BEAT_SECONDS))
            while not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            if not batch or self._loop.time() - told >= BEAT_SECONDS:
                told = self._loop.time()
                batch.append(encode(Alive(busy=busy(self))))
            await self.comm.write({"values": batch})


class RunningUnit:
    """A unit that is made, or is about to be."""

    def __init__(self, driver: DriverSession, start: Start) -> None:
        self.driver = driver
        self.start = start
        self.unit: Unit | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.is_stopped = False
        self._lock = threading.Lock()

    def begin(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes] | None:
        """Start the process, unless it was stopped before."""
        with self._lock:
            if self.is_stopped:
                return None
            self.process = start()
            return self.process

    def opened(self, unit: Unit) -> None:
        """Note what is to be made."""
        self.unit = unit

    def send(self, value: object) -> None:
        """Answer a question of the process; one that has ended needs none."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            if self.process is not None:
                write_frame(cast(BinaryIO, self.process.stdin), encode(value))

    def signal(self, number: int) -> None:
        """Have the process end; what is not begun is not to begin."""
        self.is_stopped = True
        process = self.process
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)


class SpareProcesses:
    """Processes that wait for a unit, as to start one takes longer than a small step: `count` of them."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()  # guards the next
        self._spares: list[subprocess.Popen[bytes]] = []
        self._is_closed = False

    def take(self) -> subprocess.Popen[bytes]:
        """Return a process that waits for a unit, and start another beside. Raises OSError."""
        with self._lock:
            spare = self._spares.pop(0) if self._spares else None
        threading.Thread(target=self.prepare, name="spare", daemon=True).start()
        return spare if spare is not None and spare.poll() is None else start_child()

    def prepare(self) -> None:
        """Have enough of them wait; what goes wrong here goes wrong again when one is needed."""
        with self._lock, contextlib.suppress(OSError):
            while len(self._spares) < self._count and not self._is_closed:
                self._spares.append(start_child())

    def close(self) -> None:
        """End those that wait."""
        with self._lock:
            self._is_closed = True
            for spare in self._spares:
                with spare:
                    spare.kill()


def start_child() -> subprocess.Popen[bytes]:
    """Start a process that makes the unit which is written to it."""
    return subprocess.Popen((sys.executable, "-m", CHILD), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
