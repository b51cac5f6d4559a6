"""What the other side of a line said last is heard, though it closed before it had read all that it was told."""

from __future__ import annotations

import os
import signal

import pytest

from tiffin.builder.sandbox.child import fd_passing
from tiffin.builder.sandbox.child.spec import Outcome
from tiffin.builder.sandbox.launch import Running


def test_a_message_before_a_close_with_something_unread() -> None:
    ours, theirs = fd_passing.pair()
    ours.send(b"unread")
    theirs.send(b"last")
    theirs.close()
    assert fd_passing.hear(ours, 16) == b"last"
    assert fd_passing.hear(ours, 16) == b""
    ours.close()


def test_nothing_before_a_close_with_something_unread() -> None:
    ours, theirs = fd_passing.pair()
    ours.send(b"unread")
    theirs.close()
    assert fd_passing.hear(ours, 16) == b""
    ours.close()


def test_descriptors_before_a_close_with_something_unread() -> None:
    ours, theirs = fd_passing.pair()
    ours.send(b"unread")
    null = os.open(os.devnull, os.O_RDONLY)
    fd_passing.send(theirs, b"last", [null])
    theirs.close()
    data, (fd,) = fd_passing.receive(ours, 16, 1)
    assert data == b"last"
    assert os.path.sameopenfile(fd, null)
    for number in (fd, null):
        os.close(number)
    ours.close()


@pytest.mark.parametrize("starts", [True, False])
def test_a_command_that_ends_as_a_signal_is_sent_has_its_own_exit_code(starts: bool) -> None:
    ours, runner = fd_passing.pair()
    running = Running(ours)
    if starts:
        runner.send(Outcome(started=True).encode())
        assert running.await_start()
    running.kill(signal.SIGTERM)
    runner.send(Outcome(status=3).encode())
    runner.close()
    assert running.wait().code == 3


def test_a_command_that_is_told_to_end_as_it_starts_has_started() -> None:
    ours, runner = fd_passing.pair()
    running = Running(ours)
    running.kill(signal.SIGTERM)
    runner.send(Outcome(started=True).encode())
    runner.send(Outcome(status=0).encode())
    runner.close()
    assert running.await_start()
    assert running.wait().code == 0
