"""Begin a container whose supervisor lives on when this process ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tiffin.builder.api.containers.command_start import warn
from tiffin.builder.errors import SandboxError, TiffinError
from tiffin.cache.foundation import json_text
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.signals import signal
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.events import Event, Sink


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A container that was begun, or whose command could not be: then `exit_code` is 126 or 127, `message` why."""

    id: str
    exit_code: int = 0
    message: str = ""


class _Warnings:
    """Keeps warnings, for whoever waits to print them."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def emit(self, event: Event) -> None:
        """Keep a warning."""
        from tiffin.builder.events import WarningMessage

        if isinstance(event, WarningMessage):
            self.texts.append(event.message)


class Reporter:
    """Tells the process that waits how the start went, once; `then` is called after that."""

    def __init__(self, writer: int, then: Callable[[], None] = lambda: None) -> None:
        self._writer = writer
        self._then = then
        self._warnings = _Warnings()

    @property
    def sink(self) -> Sink:
        """Where warnings go that come before the report."""
        return self._warnings

    @property
    def is_done(self) -> bool:
        """Whether it was told."""
        return self._writer < 0

    def report(self, **members: object) -> None:
        """Tell it. What comes later is for nobody."""
        if self.is_done:
            return
        data = json_text.dumps({"warnings": self._warnings.texts, **members}).encode()
        with contextlib.suppress(OSError):  # nobody waits any more
            while data:
                data = data[os.write(self._writer, data) :]
        os.close(self._writer)
        self._writer = -1
        self._then()

    def fail(self, exc: BaseException) -> None:
        """Tell of a failure."""
        if isinstance(exc, TiffinError):
            self.report(error=exc.message, remedy=exc.remedy)
        elif not isinstance(exc, Exception):  # Ctrl-C, or a signal that asks to end
            self.report(error="the container was ended while it was started", remedy="start it again")
        else:
            self.report(error=f"internal error ({type(exc).__name__}: {exc})", remedy="report it")


def begin_detached(supervise: Callable[[Reporter], None], sink: Sink) -> Started:
    """Call `supervise` in a process of its own, in a session of its own, and wait until it has reported.

    Raises SandboxError.
    """
    from tiffin.cache.store.statedir import forget_scratches, remove_scratches

    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            if os.fork():
                os._exit(0)
            os.close(reader)
            _let_go(writer)
            forget_scratches()  # they are the other process's
            reporter = Reporter(writer, _leave_directory)
            try:
                supervise(reporter)
            except BaseException as exc:
                reporter.fail(exc)
            remove_scratches()
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with _uninterrupted(), os.fdopen(reader, "rb") as stream:
        data = stream.read()
    return started_of(data, sink)


def started_of(report: bytes, sink: Sink) -> Started:
    """Return what a supervisor reported, its warnings told to `sink`. Raises SandboxError."""
    answer = json_text.loads(report or b"{}")
    for message in answer.get("warnings", ()):
        warn(sink, message)
    if "error" in answer:
        raise SandboxError(answer["error"], remedy=answer["remedy"])
    if "id" not in answer:
        raise SandboxError("the container's supervisor ended before its command began", remedy="try again")
    return Started(id=answer["id"], exit_code=answer.get("exit_code", 0), message=answer.get("message", ""))


def _let_go(writer: int) -> None:
    """Hold nothing of whoever began this: streams, other descriptors, signals; its directory until the report."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    for path in list(Path("/proc/self/fd").iterdir()):
        number = int(path.name)
        if number > 2 and number != writer and not _is_ours(number):
            with contextlib.suppress(OSError):
                os.close(number)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _leave_directory() -> None:
    """Stand in the way of no unmount; until now a path that was given may have been a relative one."""
    os.chdir("/")


def _is_ours(fd: int) -> bool:
    """Tell what tiffin opened from what it inherited: that is to be kept when another program is executed."""
    try:
        return not os.get_inheritable(fd)
    except OSError:
        return True


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Have Ctrl-C wait for the block: what was begun is told."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
