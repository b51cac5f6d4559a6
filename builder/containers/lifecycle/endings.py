"""Wait until nobody holds a container."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator

from tiffin.builder.containers.state import ContainerState, process_start
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.sandbox.child.fd_passing import Socket

LOOK_SECONDS = 0.5  # where something will tell of the end
CLOSE_LOOK_SECONDS = 0.01  # where nothing will, or the kernel is about to let go


def wait_for_end(
    is_alive: Callable[[], bool], state: ContainerState, line: Socket | None, seconds: float | None
) -> bool:
    """Wait until nobody holds a container; False if it did not end in time. `line` is connected to its supervisor."""
    deadline = None if seconds is None else time.monotonic() + seconds
    with _process(state) as process:
        watched = [fd for fd in (process, line.fileno() if line is not None else -1) if fd >= 0]
        while is_alive():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            pause = LOOK_SECONDS if watched else CLOSE_LOOK_SECONDS
            for fd in _wait(watched, pause if left is None else min(pause, left)):
                if fd == process or line is None or not _says_more(line):
                    watched.remove(fd)
    return True


def _says_more(line: Socket) -> bool:
    """Take a message; False at the end of the line."""
    from tiffin.builder.containers.lifecycle import messages

    return bool(messages.receive(line))


@contextlib.contextmanager
def _process(state: ContainerState) -> Iterator[int]:
    """Open the process that holds a container; -1 where it cannot be reached from here."""
    try:
        fd = os.pidfd_open(state.pid) if state.pid else -1
    except OSError:
        fd = -1
    try:
        yield fd if process_start(state.pid) == state.pid_started else -1
    finally:
        if fd >= 0:
            os.close(fd)


def _wait(watched: list[int], seconds: float) -> list[int]:
    poller = select.poll()
    for fd in watched:
        poller.register(fd, select.POLLIN)
    return [fd for fd, _ in poller.poll(max(seconds * 1000, 1))]
