"""Work of the adapter in processes of its own: a process enters a user namespace once, and only with one thread.

A child tells its parent values; it ends when its parent does.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from tiffin.builder.api.session import Session
from tiffin.builder.errors import LocatedError, RunError, Span, StoreError, TiffinError
from tiffin.builder.events import Event, Sink
from tiffin.builder.sandbox.child import kernel
from tiffin.builder.value_bytes import decode, encode
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.store.statedir import forget_scratches, remove_scratches

BLOCK_BYTES = 1 << 16
HEAD_BYTES = 4  # of the length before each value
MAX_OUTPUT_BYTES = 1 << 20  # of a command that is evaluated
PAUSE = signal.SIGUSR1
ENDING = (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL)  # one after the other; what the last leaves others sweep
PATIENCE_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An error as it travels. `kept`: the folder of what a failed RUN left."""

    message: str
    remedy: str = ""
    span: Span | None = None
    kept: str = ""
    tail: str = ""
    status: int = 0


class Teller(Sink):
    """Tells the parent, from any thread: events, and other values."""

    def __init__(self, writer: int) -> None:
        self._writer = writer
        self._lock = threading.Lock()

    def emit(self, event: Event) -> None:
        self.tell("event", event)

    def tell(self, kind: str, value: object) -> None:
        """Tell a value."""
        data = encode((kind, value))
        data = len(data).to_bytes(HEAD_BYTES, "big") + data
        with self._lock:
            while data:
                data = data[os.write(self._writer, data) :]


Do = Callable[[Session, Teller], object]
Hear = Callable[[str, Any], None]


class Children:
    """The children of the adapter, heard by its loop."""

    def __init__(self, session: Session, selector: selectors.BaseSelector) -> None:
        self._session = session
        self._selector = selector
        self.running: list[Child] = []

    def begin(self, do: Do, hear: Hear, ended: Callable[[Child], None]) -> Child:
        """Do something in a child. `hear` is told what it tells; `ended` when it has."""
        child = Child(self._session, do, hear)
        for fd, heard in ((child.reader, child.take), (child.output_reader, child.take_output)):
            self._selector.register(fd, selectors.EVENT_READ, self._heard(child, fd, heard, ended))
        self.running.append(child)
        return child

    def _heard(
        self, child: Child, fd: int, take: Callable[[], bool], ended: Callable[[Child], None]
    ) -> Callable[[], None]:
        def heard() -> None:
            if child not in self.running or take():
                return
            self._selector.unregister(fd)
            os.close(fd)
            child.open_pipes -= 1
            if not child.open_pipes:
                self.running.remove(child)
                child.reap()
                ended(child)

        return heard

    def end_all(self) -> None:
        """End what runs, and wait for it."""
        for number in ENDING:
            for child in self.running:
                child.kill(number)
            ends = time.monotonic() + PATIENCE_SECONDS
            if all(child.ends_before(ends) for child in self.running):
                break
        for child in self.running:
            child.reap()
            for fd in (child.reader, child.output_reader):
                with contextlib.suppress(KeyError):
                    self._selector.unregister(fd)
                    os.close(fd)
        self.running.clear()


class Child:
    """One child. `result` is what it returned, `problem` why it did not; `output` what its commands wrote."""

    def __init__(self, session: Session, do: Do, hear: Hear) -> None:
        self.reader, writer = os.pipe2(os.O_CLOEXEC)
        self.output_reader, output_writer = os.pipe2(os.O_CLOEXEC)
        self.open_pipes = 2
        self.result: Any = None
        self.problem: Problem | None = None
        self.output = b""
        self._hear = hear
        self._data = b""
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _work(do, session.state.root, writer, output_writer, parent)
        os.close(writer)
        os.close(output_writer)

    def take(self) -> bool:
        """Hear what it has told; return whether more may come."""
        data = os.read(self.reader, BLOCK_BYTES)
        self._data += data
        while len(self._data) >= HEAD_BYTES:
            end = HEAD_BYTES + int.from_bytes(self._data[:HEAD_BYTES], "big")
            if len(self._data) < end:
                break
            kind, value = decode(self._data[HEAD_BYTES:end], "a message of a child")
            self._data = self._data[end:]
            if kind == "result":
                self.result = value
            elif kind == "problem":
                self.problem = value
            else:
                self._hear(kind, value)
        return bool(data)

    def take_output(self) -> bool:
        """Take what its commands wrote."""
        data = os.read(self.output_reader, BLOCK_BYTES)
        self.output = (self.output + data)[:MAX_OUTPUT_BYTES]
        return bool(data)

    def kill(self, number: int) -> None:
        """Send it a signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def ends_before(self, moment: float) -> bool:
        """Wait for its end until a moment of the monotonic clock; return whether it has ended."""
        end = os.pidfd_open(self.pid)
        try:
            poller = select.poll()
            poller.register(end, select.POLLIN)
            return bool(poller.poll(max(0.0, moment - time.monotonic()) * 1000))
        finally:
            os.close(end)

    def reap(self) -> None:
        """Wait for its end."""
        _, status = os.waitpid(self.pid, 0)
        if self.problem is None and status != 0:
            self.problem = Problem(message="what was to be done was killed", remedy="try again")


def problem_of(error: BaseException) -> Problem:
    """Return an error as it travels."""
    if isinstance(error, RunError):
        return Problem(
            message=error.message,
            remedy=error.remedy,
            span=error.span,
            kept=error.kept,
            tail=error.tail,
            status=error.status,
        )
    if isinstance(error, TiffinError):
        span = error.span if isinstance(error, LocatedError) else None
        return Problem(message=error.message, remedy=error.remedy, span=span)
    if isinstance(error, OSError):
        return Problem(message=f"{error.filename or 'a file'}: {error.strerror}", remedy="look at it")
    return Problem(message=f"internal error ({type(error).__name__}: {error})", remedy="report it")


def _work(do: Do, root: object, writer: int, output: int, parent: int) -> None:
    """Do what is to be done, and end the process."""
    try:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            return
        nothing = os.open(os.devnull, os.O_RDONLY)
        for fd, stream in enumerate((nothing, output, output)):
            os.dup2(stream, fd)
        forget_scratches()
        teller = Teller(writer)
        try:
            teller.tell("result", do(Session(str(root)), teller))
        except BaseException as exc:
            teller.tell("problem", problem_of(exc))
        finally:
            remove_scratches()
    finally:
        os._exit(0)


class Paused(StoreError):
    """It was asked to go no further."""

    def __init__(self) -> None:
        super().__init__("paused", remedy="continue")
