"""What starts the processes of a worker in which units are made: forks of one process that has loaded what they need.

A message on its standard input, a socket, asks for one; with it come the standard input and output of the new process,
and its line: numbers that come on the line are sent as signals, and its exit code goes back on it. When the worker is
gone so is this server, and each unit ends with its own standard input. One message tells that all is loaded.

Some processes are made before they are asked for, while nothing else happens: they enter the namespace of the worker's
tier, which takes longer than the rest, and wait.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial

from tiffin.builder.api.farm import child
from tiffin.builder.sandbox.child import fd_passing
from tiffin.builder.sandbox.launch import close_others

MAX_MESSAGE_BYTES = 16
FDS = 3  # standard input, standard output, the line
QUIET_SECONDS = 0.5  # without a request, after which a process is made that waits
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)  # the worker decides what ends when


def main(spares: int) -> None:
    """Serve the worker that started this process; `spares` processes wait for units."""
    requests = fd_passing.Socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), 0)
    for number in PASSED_ON:
        signal.signal(number, signal.SIG_IGN)
    child.load()
    gc.freeze()  # a fork need not copy what is never collected
    _Server(requests, spares).serve()


class _Server:
    """The units that run, the processes that wait for one, and who asks for more."""

    def __init__(self, requests: fd_passing.Socket, spares: int) -> None:
        self._requests = requests
        self._wanted = spares
        self._lacking = spares  # how many of them are to be made
        self._spares: dict[int, fd_passing.Socket] = {}  # by the number of the process; the oldest first
        self._lines: dict[int, fd_passing.Socket] = {}  # by the number of the process
        self._woken, wakes = os.pipe()
        for fd in (self._woken, wakes):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakes)

    def serve(self) -> None:
        """Serve until nobody can ask any more."""
        with contextlib.suppress(OSError):
            self._requests.send(b"loaded")
        while self._lacking:
            self._make_spare()
        while True:
            watched: list[int | fd_passing.Socket] = [self._requests, self._woken, *self._lines.values()]
            ready, _, _ = select.select(watched, [], [], QUIET_SECONDS if self._lacking else None)
            if not ready:
                self._make_spare()
            for pid, line in list(self._lines.items()):
                if line in ready:
                    self._pass_on(pid, line)
            if self._woken in ready:
                os.read(self._woken, 1 << 12)
                self._reap()
            if self._requests in ready:
                data, fds = fd_passing.receive(self._requests, MAX_MESSAGE_BYTES, FDS)
                if not data:
                    self._end_spares()
                    return
                self._start(fds)

    def _start(self, fds: Sequence[int]) -> None:
        """Have a process make a unit. Without one (EAGAIN) its line ends without an exit code."""
        pid = self._hand_over(fds) or self._fork(partial(self._become_unit, fds))
        self._lacking = self._wanted - len(self._spares)
        incoming, outgoing, line = fds
        os.close(incoming)
        os.close(outgoing)
        if pid > 0:
            self._lines[pid] = fd_passing.Socket(fileno=line)
        else:
            os.close(line)

    @staticmethod
    def _fork(become: Callable[[], None]) -> int:
        """Return the number of a new process, which becomes something, and ends; -1 without one."""
        signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        try:
            pid = os.fork()
        except OSError:
            pid = -1
        if pid == 0:
            try:
                become()
            finally:
                os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        return pid

    def _hand_over(self, fds: Sequence[int]) -> int:
        """Have a process that waits make a unit; return its number, 0 if there is none."""
        while self._spares:
            pid, spare = next(iter(self._spares.items()))
            del self._spares[pid]
            with contextlib.closing(spare), contextlib.suppress(OSError):  # it has ended
                fd_passing.send(spare, b"unit", fds)
                return pid
        return 0

    def _make_spare(self) -> None:
        """Make a process that waits; one that cannot be made, or ends, is tried again after the next unit."""
        self._lacking -= 1
        ours, theirs = fd_passing.pair()
        with contextlib.closing(theirs):
            pid = self._fork(partial(self._become_spare, theirs))
        if pid > 0:
            self._spares[pid] = ours
        else:
            ours.close()

    def _end_spares(self) -> None:
        for pid, spare in self._spares.items():
            spare.close()
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def _become_unit(self, fds: Sequence[int]) -> None:
        os.dup2(fds[0], 0)
        os.dup2(fds[1], 1)
        self._be_alone({0, 1, 2})
        child.make_unit(child.Ready())

    def _become_spare(self, line: fd_passing.Socket) -> None:
        self._be_alone({0, 1, 2, line.fileno()})
        ready = child.Ready()
        ready.prepare()
        data, fds = fd_passing.receive(line, MAX_MESSAGE_BYTES, FDS)
        line.close()
        if data:  # else the server is gone
            os.dup2(fds[0], 0)
            os.dup2(fds[1], 1)
            for fd in fds:
                os.close(fd)
            child.make_unit(ready)

    @staticmethod
    def _be_alone(keep: set[int]) -> None:
        """Let go of all that is the server's."""
        signal.set_wakeup_fd(-1)
        close_others(keep)
        for number in (*PASSED_ON, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)  # what came for it meanwhile comes now

    def _pass_on(self, pid: int, line: fd_passing.Socket) -> None:
        data = fd_passing.hear(line, MAX_MESSAGE_BYTES)
        if data:
            os.kill(pid, int(data))  # it was not waited for yet, so the number is its own
        else:  # nobody listens any more
            del self._lines[pid]
            line.close()

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                spare = self._spares.pop(pid, None)
                if spare is not None:
                    spare.close()
                line = self._lines.pop(pid, None)
                if line is not None:
                    with contextlib.suppress(OSError):
                        line.send(b"%d" % os.waitstatus_to_exitcode(status))
                    line.close()


if __name__ == "__main__":
    from tiffin.builder import importing

    importing.install()
    main(int(sys.argv[1]))
