"""A signal ends a wait also where it does not interrupt the system call that waits, or threads go on."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

import pytest

from tiffin.builder.sandbox.child import fd_passing
from tiffin.builder.sandbox.launch import Running
from tiffin.cache.foundation.workers import GRACE_SECONDS, Workers, take

LIMIT_SECONDS = 20  # after which a wait that nothing ended is given up


@contextmanager
def unseen_interrupt(give_up: Callable[[], object]) -> Iterator[None]:
    """SIGINT while the main thread waits, taken by another thread: no system call of the main one is interrupted."""
    over = threading.Event()

    def send() -> None:
        over.wait(0.2)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        signal.raise_signal(signal.SIGINT)
        if not over.wait(LIMIT_SECONDS):
            give_up()

    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=send)
    try:
        thread.start()
        yield
    finally:
        over.set()
        thread.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)


def test_waiting_for_a_queue() -> None:
    queue: SimpleQueue[str] = SimpleQueue()
    with pytest.raises(KeyboardInterrupt), unseen_interrupt(lambda: queue.put("given up")):
        take(queue)
    queue.put("next")
    assert take(queue) == "next"


@pytest.mark.parametrize("begin", [Running.await_start, Running.wait])
def test_waiting_for_a_command(begin: Callable[[Running], object]) -> None:
    ours, theirs = fd_passing.pair()
    with pytest.raises(KeyboardInterrupt), unseen_interrupt(theirs.close):
        begin(Running(ours))
    ours.close()
    os.close(theirs.detach())


def test_results_come_in_order() -> None:
    def work(number: int) -> int:
        time.sleep(0.01 * (3 - number))
        return number

    with Workers(3) as pool:
        assert pool.each(work, range(4)) == [0, 1, 2, 3]


def test_the_first_error_is_raised_and_what_has_not_begun_does_not_begin() -> None:
    begun, go_on = [], threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 1:
            go_on.set()
            raise ValueError("one")
        go_on.wait(LIMIT_SECONDS)

    with pytest.raises(ValueError, match="one"), Workers(2) as pool:
        pool.each(work, range(50))
    assert len(begun) < 50


def test_a_signal_does_not_wait_for_threads_that_go_on() -> None:
    over, ended = threading.Event(), threading.Event()

    def work(_: int) -> None:
        over.wait(LIMIT_SECONDS)
        ended.set()

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), unseen_interrupt(over.set), Workers(1) as pool:
        pool.each(work, range(2))
    assert GRACE_SECONDS <= time.monotonic() - began < LIMIT_SECONDS / 2
    assert not ended.is_set()
    over.set()
