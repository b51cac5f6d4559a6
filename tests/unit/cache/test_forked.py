"""Work in forked children: what they give, what they cannot give, what is left of them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from tiffin.cache.foundation.forked import MAX_PROCESSES, side_by_side


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let it fork: also on a small machine, and beside the threads of a test's worker. The number of this process."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    return os.getpid()


def test_results_are_in_order_whoever_made_them() -> None:
    found = side_by_side(lambda number: (number, [b"x" * number], f"\udcff{number}", os.getpid()), range(100))
    assert [item[:3] for item in found] == [(number, [b"x" * number], f"\udcff{number}") for number in range(100)]
    assert 2 <= len({item[3] for item in found}) <= MAX_PROCESSES


def test_what_a_child_fails_at_is_done_here(here: int) -> None:
    def work(number: int) -> int:
        if os.getpid() != here and number > 50:
            raise ValueError(number)
        return number

    assert side_by_side(work, range(100)) == list(range(100))


def test_an_error_here_ends_the_children(here: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(number: int) -> int:
        if os.getpid() == here:
            raise ValueError("here")
        threading.Event().wait()
        return number

    children, fork = [], os.fork

    def forked() -> int:
        children.append(fork())
        return children[-1]

    monkeypatch.setattr(os, "fork", forked)
    with pytest.raises(ValueError, match="here"):
        side_by_side(work, range(4))
    assert len(children) == 2
    for pid in children:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_nothing_is_forked_beside_other_threads_or_for_little(here: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "active_count", lambda: len(threading.enumerate()))
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    try:
        assert set(side_by_side(lambda _: os.getpid(), range(10))) == {here}
    finally:
        ended.set()
        thread.join()
    assert side_by_side(lambda _: os.getpid(), range(1)) == [here] and side_by_side(lambda _: 0, []) == []


def test_what_is_freed_goes_back_to_the_kernel() -> None:
    """glibc would keep a block that is smaller than another one which was freed before, below what came after it."""
    code = (
        "import os, sys\n"
        "from tiffin.cache.foundation.forked import side_by_side\n"
        "os.sched_getaffinity = lambda pid: {0, 1}\n"
        "def resident(): return int(open('/proc/self/statm').read().split()[1]) * 4096\n"
        "sys.argv[1:] and side_by_side(abs, [1, 2])\n"
        "largest = b'x' * (24 << 20); del largest\n"
        "block = b'x' * (20 << 20); after = [b'y' * 1000 for _ in range(100)]\n"
        "before = resident(); del block\n"
        "print(before - resident() > 19 << 20)\n"
    )
    told = [
        subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True).stdout
        for words in ([], ["several"])
    ]
    assert told[1] == "True\n", f"without it: {told[0]}"
