"""Work in several processes at once, where Python has one lock for all threads: a part of it in forked children."""

from __future__ import annotations

import contextlib
import marshal
import os
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

from tiffin.cache.foundation.signals import signal

MAX_PROCESSES = 4
LARGE_BLOCK_BYTES = 1 << 20
_MMAP_THRESHOLD = -3  # mallopt(3)
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def side_by_side(work: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """Return what `work` gives for each item: numbers, bytes, text, and tuples and lists of these.

    It must not matter in which process it is done, and it raises nothing that is worth knowing: what a child could not
    do is done here. Nothing is forked where there are other threads or no other CPU.
    """
    count = min(MAX_PROCESSES, len(os.sched_getaffinity(0)), len(items))
    if count < 2 or threading.active_count() > 1:
        return [work(item) for item in items]
    _keep_no_freed_blocks()
    results: list[Any] = [None] * len(items)
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(_child(work, items[number::count])) for number in range(1, count)]
        results[::count] = [work(item) for item in items[::count]]
        for number, child in enumerate(children, 1):
            found = child()
            part = items[number::count]
            results[number::count] = found if found is not None else [work(item) for item in part]
    return results


@cache
def _keep_no_freed_blocks() -> None:
    """Have large blocks go back to the kernel once they are freed, as results are read and put away in these: glibc
    keeps as much as the largest one that ever was.
    """
    import ctypes

    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)


@contextlib.contextmanager
def _child(work: Callable[[_Item], _Result], items: Sequence[_Item]) -> Any:
    """Yield what waits for a child and returns its results, None if it has none."""
    parent, fd = os.getpid(), os.memfd_create("results", os.MFD_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _work(work, items, parent, fd)

    def results() -> list[_Result] | None:
        nonlocal pid
        _, status = os.waitpid(pid, 0)
        pid = 0
        if status:
            return None
        with open(fd, "rb", closefd=False) as stream:
            stream.seek(0)
            return marshal.load(stream)  # type: ignore[no-any-return]

    try:
        yield results
    finally:
        os.close(fd)
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _work(work: Callable[[_Item], _Result], items: Sequence[_Item], parent: int, fd: int) -> None:
    """Do it in the child, and end without the parent's exit handlers; also where the parent is gone."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        results = []
        for item in items:
            if os.getppid() != parent:
                return
            results.append(work(item))
        with open(fd, "wb", closefd=False) as stream:
            marshal.dump(results, stream)
        status = 0
    finally:
        os._exit(status)
