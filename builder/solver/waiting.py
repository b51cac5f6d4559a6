"""Wait for other threads in the main one, so that a signal always ends the wait."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import TypeVar

from tiffin.builder.sandbox.launch import MAX_WAIT_SECONDS

Item = TypeVar("Item")


def take(queue: SimpleQueue[Item]) -> Item:
    """Return the queue's next item, once there is one. Raises what a signal raises, at most a second after it came."""
    while True:
        try:
            return queue.get(timeout=MAX_WAIT_SECONDS)
        except Empty:
            continue
