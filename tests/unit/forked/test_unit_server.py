"""The process that starts a worker's units: real ones, which end for want of a unit."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.forked import wait_for
from tiffin.builder.api.farm import unit_server
from tiffin.builder.farm.dask.sessions import UnitServer
from tiffin.builder.sandbox.launch import close_others

SPARES = 2


class ForkedServer:
    """In the place of Popen: the server as a fork of this process, so that it is known which of its lines run."""

    def __init__(self, argv: Sequence[str], stdin: int) -> None:
        assert argv[-2] == unit_server.__name__
        self._is_over = False
        self.pid = os.fork()
        if not self.pid:
            try:
                os.dup2(stdin, 0)
                close_others({0, 1, 2})
                unit_server.main(int(argv[-1]))
            finally:
                os._exit(0)

    def poll(self) -> int | None:
        if not self._is_over and os.waitpid(self.pid, os.WNOHANG)[0]:
            self._is_over = True
        return 0 if self._is_over else None

    def wait(self) -> None:
        if not self._is_over:
            os.waitpid(self.pid, 0)


@pytest.fixture(params=["program", "fork"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[UnitServer]:
    if request.param == "fork":
        monkeypatch.setattr(subprocess, "Popen", ForkedServer)
    made = UnitServer(SPARES)
    made.prepare()
    yield made
    made.close()


def served_by(server: UnitServer) -> int:
    assert server._process is not None
    return server._process.pid


def units(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def waiting_for(server: UnitServer) -> set[str]:
    """Return the processes that wait for a unit, once all are there."""
    wait_for(lambda: len(units(served_by(server))) == SPARES)
    return set(units(served_by(server)))


def test_a_unit_ends_with_its_input_and_tells_its_exit_code(server: UnitServer) -> None:
    with server.start() as first, server.start() as second:
        assert (first.poll(), second.poll()) == (None, None)
    assert (first.returncode, second.returncode) == (1, 1)
    assert first.poll() == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_one_unit(server: UnitServer, number: int) -> None:
    with server.start() as other:
        with server.start() as unit:
            unit.send_signal(number)
            assert unit.stdout is not None and unit.stdout.read() == b""
        assert unit.returncode in (-number, 1)  # it may take SIGTERM itself
        unit.send_signal(number)  # too late is fine
        assert len(units(served_by(server))) == 1
    assert other.returncode == 1


def test_a_server_that_is_killed_has_a_successor(server: UnitServer) -> None:
    with server.start() as unit:
        old = served_by(server)
        wait_for(lambda: units(old))
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: Path(f"/proc/{old}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
        with server.start() as other:
            assert served_by(server) != old
        unit.send_signal(signal.SIGTERM)  # which nobody passes on
        assert unit.stdout is not None and unit.stdout.read() == b""
    assert unit.returncode is None and other.returncode == 1


def test_signals_for_the_worker_do_not_end_the_server(server: UnitServer) -> None:
    with server.start() as unit:
        wait_for(lambda: units(served_by(server)))
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(served_by(server), number)
        time.sleep(0.05)
    with server.start() as other:
        pass
    assert (unit.returncode, other.returncode) == (1, 1)


def test_a_unit_is_handed_to_a_process_that_waits(server: UnitServer) -> None:
    waiting = waiting_for(server)
    with server.start() as unit:
        assert set(units(served_by(server))) == waiting
        wait_for(lambda: len(units(served_by(server))) == SPARES + 1)  # there is one more again
    assert unit.returncode == 1
    wait_for(lambda: len(units(served_by(server))) == SPARES)


def test_processes_that_wait_may_be_killed_and_end_with_the_server(server: UnitServer) -> None:
    for pid in waiting_for(server):
        os.kill(int(pid), signal.SIGKILL)
    wait_for(lambda: not units(served_by(server)))
    with server.start() as unit:
        pass
    assert unit.returncode == 1
    waiting = waiting_for(server)
    server.close()
    assert not [pid for pid in waiting if Path(f"/proc/{pid}").exists()]
