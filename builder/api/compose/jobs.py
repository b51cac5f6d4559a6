"""Do several things at once, each in a process of its own, in the order that they need each other.

A process may enter a namespace of users once, and only while it has one thread: so what makes and starts containers
happens in children of this one, which tell what happens, and how it ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tiffin.builder.api.session import Session
from tiffin.builder.errors import StoreError, TiffinError
from tiffin.builder.events import Event, ResourceChanged, Sink, WarningMessage
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.store.statedir import forget_scratches, remove_scratches

BLOCK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Something to do, after others; what it returns is told as JSON."""

    key: str
    do: Callable[[Session, Sink], Any]
    needs: tuple[str, ...] = ()


def run_jobs(jobs: Sequence[Job], session: Session, sink: Sink, *, at_once: int = -1) -> dict[str, Any]:
    """Do all jobs and return what they returned; where one fails those that need it are left out, and its error is
    raised at the end.
    """
    return _Jobs(jobs, session, sink, at_once).run()


def run_apart(do: Callable[[Session, Sink], Any], session: Session, sink: Sink) -> Any:
    """Do one thing in a process of its own. Raises TiffinError."""
    return run_jobs([Job(key="", do=do)], session, sink)[""]


class _Running:
    """A job that is being done."""

    def __init__(self, job: Job, session: Session) -> None:
        self.job = job
        self.reader, writer = os.pipe2(os.O_CLOEXEC)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _work(job, Session(session.state.root), writer)
        os.close(writer)
        self.end = os.pidfd_open(self.pid)
        self._data = b""

    def messages(self) -> list[dict[str, Any]]:
        """Return what it has told since, as far as it is there."""
        os.set_blocking(self.reader, False)
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.reader, BLOCK_BYTES):
                self._data += data
        *lines, self._data = self._data.split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Let it go, once it has ended."""
        os.waitpid(self.pid, 0)
        os.close(self.reader)
        os.close(self.end)


class _Jobs:
    def __init__(self, jobs: Sequence[Job], session: Session, sink: Sink, at_once: int) -> None:
        self._waiting = list(jobs)
        self._session = session
        self._sink = sink
        self._at_once = at_once if at_once > 0 else len(self._waiting)
        self._running: dict[int, _Running] = {}
        self._results: dict[str, Any] = {}
        self._failed: set[str] = set()
        self._error: TiffinError | None = None

    def run(self) -> dict[str, Any]:
        """Do all of it."""
        poller = select.poll()
        try:
            self._begin(poller)
            while self._running:
                ready = {fd for fd, _ in poller.poll()}
                for running in list(self._running.values()):
                    if ready.intersection((running.reader, running.end)):
                        self._hear(running, ended=running.end in ready, poller=poller)
                self._begin(poller)
        except BaseException:
            self._end_all()
            raise
        if self._error is not None:
            raise self._error
        return self._results

    def _begin(self, poller: select.poll) -> None:
        """Begin what can be begun now."""
        left = []
        for job in self._waiting:
            if self._failed.intersection(job.needs):
                self._failed.add(job.key)
            elif len(self._running) < self._at_once and all(need in self._results for need in job.needs):
                running = _Running(job, self._session)
                self._running[running.pid] = running
                poller.register(running.reader, select.POLLIN)
                poller.register(running.end, select.POLLIN)
            else:
                left.append(job)
        again = len(left) < len(self._waiting)
        self._waiting = left
        if again and left:
            self._begin(poller)

    def _hear(self, running: _Running, *, ended: bool, poller: select.poll) -> None:
        for message in running.messages():
            self._take(running.job, message)
        if not ended:
            return
        poller.unregister(running.reader)
        poller.unregister(running.end)
        running.close()
        del self._running[running.pid]
        if running.job.key not in self._results and running.job.key not in self._failed:
            self._fail(
                running.job, StoreError(f"what was to be done for {running.job.key} was killed", remedy="try again")
            )

    def _take(self, job: Job, message: dict[str, Any]) -> None:
        if "warning" in message:
            self._sink.emit(WarningMessage(message=message["warning"]))
        elif "changed" in message:
            kind, name, change = message["changed"]
            self._sink.emit(ResourceChanged(kind=kind, name=name, change=change))
        elif "error" in message:
            error = TiffinError(message["error"], remedy=message["remedy"])
            error.ends_with(message["code"])
            self._fail(job, error)
        else:
            self._results[job.key] = message["result"]

    def _fail(self, job: Job, error: TiffinError) -> None:
        self._failed.add(job.key)
        self._error = self._error or error

    def _end_all(self) -> None:
        for running in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.pid, signal.SIGTERM)
        for running in self._running.values():
            running.close()


class _Teller:
    """Tells the parent."""

    def __init__(self, writer: int) -> None:
        self._writer = writer

    def tell(self, **message: Any) -> None:
        """Write one message."""
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self._writer, data) :]

    def emit(self, event: Event) -> None:
        """Tell of an event."""
        match event:
            case WarningMessage():
                self.tell(warning=event.message)
            case ResourceChanged():
                self.tell(changed=[event.kind, event.name, event.change])


def _work(job: Job, session: Session, writer: int) -> None:
    """Do a job in a child, and end it."""
    teller = _Teller(writer)
    try:
        forget_scratches()  # they are the parent's
        try:
            teller.tell(result=job.do(session, teller))
        except TiffinError as exc:
            teller.tell(error=exc.message, remedy=exc.remedy, code=exc.exit_code)
        except OSError as exc:
            teller.tell(error=f"{exc.filename or job.key}: {exc.strerror}", remedy="look at it", code=1)
        except Exception as exc:
            text = f"internal error ({type(exc).__name__}: {exc})"
            teller.tell(error=text, remedy="report it", code=70)
        finally:
            remove_scratches()
            sys.stdout.flush()
            sys.stderr.flush()
    finally:
        os._exit(0)
