"""Threads that a command waits for, but not once a signal has ended it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TypeVar

from tiffin.cache.foundation.signals import MAX_WAIT_SECONDS

GRACE_SECONDS = 2.0  # for threads to end once a signal came: one that waits for a network would take minutes

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers(ThreadPoolExecutor):
    """A pool whose `with` waits for its threads. Where a signal ends the command they get a moment to end, and then go
    with the process, which does not wait for them either (tiffin.builder.__main__).
    """

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        is_ending = kind is not None and not issubclass(kind, Exception)
        self.shutdown(wait=not is_ending, cancel_futures=kind is not None)
        deadline = time.monotonic() + GRACE_SECONDS
        for thread in tuple(self._threads) if is_ending else ():
            thread.join(max(0.0, deadline - time.monotonic()))

    def each(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Return what `function` gives for each item, in order. Raises the first error, and what a signal raises."""
        futures = [self.submit(function, item) for item in items]
        ended: SimpleQueue[Future[Result]] = SimpleQueue()
        for future in futures:
            future.add_done_callback(ended.put)
        for _ in futures:
            take(ended).result()
        return [future.result() for future in futures]


def take(queue: SimpleQueue[Item]) -> Item:
    """Return the queue's next item, once there is one. Raises what a signal raises, at most a second after it came."""
    while True:
        try:
            return queue.get(timeout=MAX_WAIT_SECONDS)
        except Empty:
            continue
