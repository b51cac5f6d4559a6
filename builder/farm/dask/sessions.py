"""What a worker works with: the connection of a driver, a unit that is made, and the processes that make units."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import BinaryIO, cast

from distributed.comm import Comm

from tiffin.builder.farm.pipes import write_frame
from tiffin.builder.farm.values import Alive, Start, Unit
from tiffin.builder.sandbox.child import fd_passing
from tiffin.builder.value_bytes import encode
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import replace

CHILD, SERVER = "tiffin.builder.api.farm.child", "tiffin.builder.api.farm.unit_server"
BEAT_SECONDS = 2.0
MAX_CODE_BYTES = 16
MAX_SPARES = 4  # processes that wait for a unit; each has some MB of its own
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
        self.process: UnitProcess | None = None
        self.is_stopped = False
        self.is_filling = False
        self._lock = threading.Lock()
        self._is_free = threading.Event()

    def begin(self, start: Callable[[], UnitProcess]) -> UnitProcess | None:
        """Start the process, unless it was stopped before."""
        with self._lock:
            if self.is_stopped:
                return None
            self.process = start()
            return self.process

    def fill(self) -> None:
        """Note that all its steps are made, and only the shared caches take from it."""
        self.is_filling = True
        self.free()

    def free(self) -> None:
        """Let another unit have its slot."""
        self._is_free.set()

    def wait_free(self) -> None:
        """Wait until another unit may have its slot."""
        self._is_free.wait()

    def opened(self, unit: Unit) -> None:
        """Note what is to be made."""
        self.unit = unit

    def learn(self, holders: Mapping[Digest, tuple[str, ...]]) -> None:
        """Note who has layers that were made since the unit was sent."""
        if self.unit is not None:
            self.unit = replace(self.unit, holders={**self.unit.holders, **holders})

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
            process.send_signal(number)


class UnitProcess:
    """A process that makes the unit which is written to its standard input. Its exit code is known when who works with
    it is done (`with`); None then: the server of it was killed.
    """

    def __init__(self, line: fd_passing.Socket, stdin: int, stdout: int) -> None:
        self._line = line
        self.stdin: BinaryIO | None = cast(BinaryIO, os.fdopen(stdin, "wb", buffering=0))
        self.stdout: BinaryIO | None = cast(BinaryIO, os.fdopen(stdout, "rb", buffering=0))
        self.returncode: int | None = None
        self._is_over = False

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return (self.returncode or 0) if self._is_over else None

    def send_signal(self, number: int) -> None:
        """Send a signal; too late is fine. Where its server was killed the process ends for want of input."""
        try:
            self._line.send(b"%d" % number)
        except OSError:
            if self.stdin is not None:
                self.stdin.close()

    def __enter__(self) -> UnitProcess:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdout, self.stdin):
            assert stream is not None
            stream.close()
        code = fd_passing.hear(self._line, MAX_CODE_BYTES)
        self.returncode, self._is_over = int(code) if code else None, True
        self._line.close()


class UnitServer:
    """Starts processes that make units: forks of a process that has loaded what they need, as to load it takes longer
    than a small step. For as many as there are `slots`, if those are few, it has some ready.
    """

    def __init__(self, slots: int) -> None:
        self._spares = min(slots, MAX_SPARES)
        self._lock = threading.Lock()  # guards the next
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: fd_passing.Socket | None = None

    def prepare(self) -> None:
        """Load what units need. Raises OSError."""
        with self._lock:
            fd_passing.hear(self._started(), MAX_CODE_BYTES)

    def start(self) -> UnitProcess:
        """Start a process. Raises OSError."""
        ours, theirs = fd_passing.pair()
        incoming, stdin = os.pipe()
        stdout, outgoing = os.pipe()
        process = UnitProcess(ours, stdin, stdout)
        try:
            with self._lock:
                fds = (incoming, outgoing, theirs.fileno())
                try:
                    fd_passing.send(self._started(), b"unit", fds)
                except (BrokenPipeError, ConnectionResetError):  # it was killed
                    self._end()
                    fd_passing.send(self._started(), b"unit", fds)
        finally:
            theirs.close()
            os.close(incoming)
            os.close(outgoing)
        return process

    def _started(self) -> fd_passing.Socket:
        """Return where a server takes requests; one is started where none runs."""
        if self._process is not None and self._process.poll() is not None:
            self._end()  # it was killed; a process that it was about to fork may have its end of the line yet
        if self._requests is None:
            self._requests, theirs = fd_passing.pair()
            with contextlib.closing(theirs):
                argv = (sys.executable, "-m", SERVER, str(self._spares))
                self._process = subprocess.Popen(argv, stdin=theirs.fileno())
        return self._requests

    def close(self) -> None:
        """End the server; units end by themselves, or are told to."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._requests is not None and self._process is not None:
            self._requests.close()
            self._process.wait()
        self._requests = None
