"""A signal ends a wait also where it does not interrupt the system call that waits."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

import pytest

from tiffin.builder.sandbox.child import fd_passing
from tiffin.builder.sandbox.launch import Running
from tiffin.builder.solver.waiting import take

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
