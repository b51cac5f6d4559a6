"""Calls that end in time, whatever the other side does: refuses, hangs, or sends a byte a second.

A process enters a user namespace only while it has one thread, so until then a question is asked by a forked child,
which can be killed; afterwards by a thread that is left behind. Answers are rows: text by name.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from tiffin.cache.errors import StoreError, TiffinError

READ_BYTES = 1 << 16
MAX_ANSWER_BYTES = 256 << 20
Rows = Mapping[str, bytes]
_Answer = TypeVar("_Answer")


class CacheNotFoundError(StoreError):
    """A shared cache that nobody has filled yet."""


class CircuitBreaker:
    """Bounds what one shared cache may cost. After a failure its rows are none, and nothing more is asked.

    `what` names the cache in the one warning that `warn` is told; the failure of one that is `required` is an error,
    and one that `begins` here may be absent.
    """

    def __init__(
        self, what: str, seconds: float, warn: Callable[[str], None], *, required: bool = False, begins: bool = False
    ) -> None:
        self.what = what
        self.seconds = seconds
        self.failed = ""  # why, once it has failed
        self._is_absent = False
        self._warn = warn
        self._required = required
        self._begins = begins
        self._warned: set[str] = set()

    def rows(self, query: Callable[[], Rows]) -> Rows:
        """Return the answer, or nothing; raises StoreError if the cache is required and failed."""
        if self.failed or self._is_absent:
            return {}
        try:
            return bounded(query, self.seconds)
        except CacheNotFoundError as exc:
            self._is_absent = True
            if not self._begins:
                self.warn_once(exc.message)
            return {}
        except TiffinError as exc:
            self.failed = exc.message
            if self._required:
                raise StoreError(f"{self.what} cannot be used: {exc.message}", remedy=exc.remedy) from exc
            self._warn(f"{self.what} cannot be used: {exc.message}")
            return {}

    def warn_once(self, text: str) -> None:
        """Warn, once for each text."""
        if text not in self._warned:
            self._warned.add(text)
            self._warn(f"{self.what}: {text}")


def bounded(query: Callable[[], Rows], seconds: float) -> Rows:
    """Return the rows `question` gives; raises its TiffinError, or StoreError after `seconds`."""
    return _by_child(query, seconds) if threading.active_count() == 1 else in_thread(query, seconds)


def in_thread(query: Callable[[], _Answer], seconds: float) -> _Answer:
    """Return the answer of `question`, in a thread that is left behind after `seconds`; raises its error, or
    StoreError.
    """
    answers: list[_Answer] = []
    errors: list[Exception] = []

    def ask() -> None:
        try:
            answers.append(query())
        except Exception as exc:  # whatever it is: raised where the answer is waited for
            errors.append(exc)

    thread = threading.Thread(target=ask, name="shared cache", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise _late(seconds)
    return answers[0]


def _by_child(query: Callable[[], Rows], seconds: float) -> Rows:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _answer(query, writing, seconds)
    os.close(writing)
    try:
        data = _read_all(reading, time.monotonic() + seconds)
    finally:
        os.close(reading)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if data is None:
        raise _late(seconds)
    try:
        document = json.loads(data)
    except ValueError as exc:
        raise StoreError("it could not be asked", remedy="try again") from exc
    if "error" in document:
        kind = CacheNotFoundError if document["absent"] else StoreError
        raise kind(document["error"], remedy=document["remedy"])
    return {name: text.encode("utf-8", "surrogateescape") for name, text in document["rows"].items()}


def _answer(query: Callable[[], Rows], fd: int, seconds: float) -> None:
    """Ask in the child, write the answer, and end, without output on the terminal and without the parent's exit
    handlers.
    """
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.alarm(int(seconds) + 2)  # should the parent be killed
        try:
            rows = query()
            document: dict[str, object] = {
                "rows": {name: data.decode("utf-8", "surrogateescape") for name, data in rows.items()}
            }
        except TiffinError as exc:
            document = {"error": exc.message, "remedy": exc.remedy, "absent": isinstance(exc, CacheNotFoundError)}
        data = json.dumps(document).encode()
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os._exit(0)


def _read_all(fd: int, deadline: float) -> bytes | None:
    """Return everything up to the end of the pipe; None if that does not come in time."""
    parts: list[bytes] = []
    size = 0
    while size < MAX_ANSWER_BYTES:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return None
        with contextlib.suppress(InterruptedError):
            if not select.select([fd], [], [], remaining)[0]:
                return None
        data = os.read(fd, READ_BYTES)
        if not data:
            return b"".join(parts)
        parts.append(data)
        size += len(data)
    return None


def _late(seconds: float) -> StoreError:
    return StoreError(f"no answer within {seconds:g} s", remedy="raise timeout=, or leave it out")
