"""Run tests in forked children of the process that collected them: `-p tests.support.workers --workers 2`.

xdist's workers are programs of their own, each of which collects all tests, and send each test's name to and fro; with
thousands of quick tests that took as long as a fifth of these. It is right here as nothing is threaded before.
Tests of one `xdist_group` have one worker, here too, and what takes longest begins first: at the end no worker is left
alone with a long group. A worker takes a test when it is done with the one before, so none waits behind a long one.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import itertools
import os
import pickle
import select
import signal
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence

import pytest
from _pytest.nodes import Node

TICKET = struct.Struct("=II")  # the numbers of the first test, and of the one behind the last
LENGTH = struct.Struct("=I")
MAX_PIPE_BYTES = 1 << 20
MAX_READ_BYTES = 1 << 16
SLOW_WEIGHT = 20  # a test that is marked as slow takes about as long as this many others
PR_SET_PDEATHSIG = 1


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--workers", type=int, default=0, help="how many children run the tests")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put tests of a group together, and what takes longest first; else the order stays."""
    if not config.getoption("workers"):
        return
    groups: dict[object, list[pytest.Item]] = {}
    for item in items:
        groups.setdefault(_group(item), []).append(item)
    items[:] = itertools.chain.from_iterable(sorted(groups.values(), key=_weight, reverse=True))


def _weight(group: Iterable[pytest.Item]) -> int:
    return sum(SLOW_WEIGHT if item.get_closest_marker("slow") else 1 for item in group)


def interrupted_in(own: int) -> Callable[[int, object], None]:
    """Make a handler by which a signal ends the tests and fixtures of process `own`, and kills a child it forked."""

    def interrupt(number: int, frame: object) -> None:
        if os.getpid() == own:
            raise KeyboardInterrupt
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    return interrupt


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    count: int = session.config.getoption("workers")
    if not count or session.testsfailed or session.config.option.collectonly:
        return None
    tickets = _all_tickets(session.items)
    children = {}
    boss = os.getpid()
    folder = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # as xdist does
    for number in range(count):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            status = 1
            try:
                _end_with(boss)
                _Worker(session, writer).run(tickets, folder / f"worker-{number}")
                status = 0
            except KeyboardInterrupt:
                status = pytest.ExitCode.INTERRUPTED
            finally:
                os._exit(status)
        os.close(writer)
        children[reader] = child
    try:
        _Boss(session, tickets).listen(children)
    except BaseException:
        _end(children.values())
        raise
    return True


def _end_with(boss: int) -> None:
    """Be interrupted with the boss, and by its end."""
    signal.signal(signal.SIGTERM, interrupted_in(os.getpid()))
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != boss:
        raise KeyboardInterrupt


def _end(children: Iterable[int]) -> None:
    """Let each worker that still runs take down its fixtures, and wait for that."""
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
    for child in children:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)


def _all_tickets(items: Sequence[pytest.Item]) -> int:
    """The end of a pipe in which tickets for all tests wait for whoever takes one."""
    reader, writer = os.pipe()
    begins = [place for place, item in enumerate(items) if not place or _group(item) != _group(items[place - 1])]
    data = b"".join(itertools.starmap(TICKET.pack, itertools.pairwise([*begins, len(items)])))
    assert len(data) <= MAX_PIPE_BYTES
    os.set_blocking(writer, False)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, MAX_PIPE_BYTES)
    assert os.write(writer, data) == len(data)
    os.close(writer)
    return reader


def _group(item: pytest.Item) -> object:
    """What tests of one worker have in common; others have only themselves."""
    mark = item.get_closest_marker("xdist_group")
    return (*mark.args, *mark.kwargs.values()) if mark else item


class _Worker:
    """Runs the tests that it takes tickets for, and sends what became of them."""

    def __init__(self, session: pytest.Session, line: int) -> None:
        self._session = session
        self._line = line
        self._taken: list[pytest.Item] = []

    def run(self, tickets: int, folder: object) -> None:
        config = self._session.config
        capture = config.pluginmanager.getplugin("capturemanager")
        capture.stop_global_capturing()  # the file for it would be shared with the other workers
        capture.start_global_capturing()
        capture.suspend_global_capture()
        config._tmp_path_factory._basetemp = folder  # type: ignore[attr-defined]  # as xdist does
        os.mkdir(str(folder), 0o700)
        config.pluginmanager.unregister(name="terminalreporter")
        config.pluginmanager.register(self)
        try:
            following = _Following(lambda: self._take(tickets))
            while item := following.item():
                following = _Following(lambda: self._take(tickets))
                config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        except KeyboardInterrupt:
            for number in (signal.SIGINT, signal.SIGTERM):  # who pressed Ctrl-C tells the boss and each worker
                signal.signal(number, signal.SIG_IGN)
            raise
        finally:
            self._session._setupstate.teardown_exact(None)

    def _take(self, tickets: int) -> pytest.Item | None:
        if not self._taken and (data := os.read(tickets, TICKET.size)):
            self._taken = self._session.items[slice(*TICKET.unpack(data))]
        return self._taken.pop(0) if self._taken else None

    def pytest_runtest_logstart(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        self._send({"begun": nodeid, "location": location})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._session.config.hook.pytest_report_to_serializable(config=self._session.config, report=report)
        self._send({"report": data})

    def _send(self, told: Mapping[str, object]) -> None:
        data = pickle.dumps(told)
        data = LENGTH.pack(len(data)) + data
        while data:
            data = data[os.write(self._line, data) :]


class _Following:
    """The test that follows one: it is taken when pytest asks for it, to keep the fixtures that both have."""

    def __init__(self, take: Callable[[], pytest.Item | None]) -> None:
        self.item = functools.cache(take)

    def __bool__(self) -> bool:
        return self.item() is not None

    def listchain(self) -> list[Node]:
        item = self.item()
        assert item is not None
        return item.listchain()


class _Boss:
    """Hears of the workers and reports as if it had run the tests itself."""

    def __init__(self, session: pytest.Session, tickets: int) -> None:
        self._session = session
        self._hook = session.config.hook
        self._tickets = tickets
        self._done: set[str] = set()
        self._at: dict[int, tuple[str, tuple[str, int | None, str]]] = {}  # what each worker is at

    def listen(self, children: Mapping[int, int]) -> None:
        waiting = dict.fromkeys(children, b"")
        while waiting:
            for line in select.select(list(waiting), [], [])[0]:
                data = os.read(line, MAX_READ_BYTES)
                if data:
                    waiting[line] = self._hear(line, waiting[line] + data)
                    continue
                del waiting[line]
                os.close(line)
                status = os.waitstatus_to_exitcode(os.waitpid(children[line], 0)[1])
                if status:
                    self._crashed(line, status)
        os.close(self._tickets)
        if self._session.shouldfail:
            raise self._session.Failed(self._session.shouldfail)
        for item in self._session.items:
            if item.nodeid not in self._done:
                self._fail(item.nodeid, item.location, "it was not run, as its worker had ended")

    def _hear(self, line: int, data: bytes) -> bytes:
        """Report what has come whole, and return the rest."""
        while len(data) >= LENGTH.size and len(data) >= (end := LENGTH.size + LENGTH.unpack_from(data)[0]):
            self._report(line, pickle.loads(data[LENGTH.size : end]))
            data = data[end:]
        return data

    def _report(self, line: int, told: Mapping[str, object]) -> None:
        if "begun" in told:
            nodeid, location = told["begun"], told["location"]
            assert isinstance(nodeid, str) and isinstance(location, Sequence)
            self._at[line] = nodeid, (location[0], location[1], location[2])
            self._hook.pytest_runtest_logstart(nodeid=nodeid, location=location)
            return
        report = self._hook.pytest_report_from_serializable(config=self._session.config, data=told["report"])
        self._hook.pytest_runtest_logreport(report=report)
        if report.when == "teardown":
            self._done.add(report.nodeid)
            del self._at[line]
            self._hook.pytest_runtest_logfinish(nodeid=report.nodeid, location=report.location)
        if self._session.shouldfail:
            os.read(self._tickets, MAX_PIPE_BYTES)  # nobody begins another

    def _crashed(self, line: int, status: int) -> None:
        nodeid, location = self._at.get(line, ("a worker", ("a worker", None, "")))
        self._done.add(nodeid)
        self._fail(nodeid, location, f"the worker that ran it ended with {status}")

    def _fail(self, nodeid: str, location: tuple[str, int | None, str], why: str) -> None:
        report = pytest.TestReport(nodeid, location, {}, "failed", f"{nodeid}: {why}", "call")
        self._hook.pytest_runtest_logreport(report=report)
