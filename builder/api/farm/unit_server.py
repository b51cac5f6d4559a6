"""What starts the processes of a worker in which units are made: forks of one process that has loaded what they need.

A message on its standard input, a socket, asks for one; with it come the standard input and output of the new process,
and its line: numbers that come on the line are sent as signals, and its exit code goes back on it. When the worker is
gone so is this server, and each unit ends with its own standard input.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
from collections.abc import Sequence

from tiffin.builder.api.farm import child
from tiffin.builder.sandbox.child import fd_passing
from tiffin.builder.sandbox.launch import close_others

MAX_MESSAGE_BYTES = 16
FDS = 3  # standard input, standard output, the line
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)  # the worker decides what ends when


def main() -> None:
    """Serve the worker that started this process."""
    requests = fd_passing.Socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), 0)
    for number in PASSED_ON:
        signal.signal(number, signal.SIG_IGN)
    child.load()
    gc.freeze()  # a fork need not copy what is never collected
    _Server(requests).serve()


class _Server:
    """The units that run, and who asks for more."""

    def __init__(self, requests: fd_passing.Socket) -> None:
        self._requests = requests
        self._lines: dict[int, fd_passing.Socket] = {}  # by the number of the process
        self._woken, wakes = os.pipe()
        for fd in (self._woken, wakes):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakes)

    def serve(self) -> None:
        """Serve until nobody can ask any more."""
        while True:
            watched: list[int | fd_passing.Socket] = [self._requests, self._woken, *self._lines.values()]
            ready, _, _ = select.select(watched, [], [])
            for pid, line in list(self._lines.items()):
                if line in ready:
                    self._pass_on(pid, line)
            if self._woken in ready:
                os.read(self._woken, 1 << 12)
                self._reap()
            if self._requests in ready:
                data, fds = fd_passing.receive(self._requests, MAX_MESSAGE_BYTES, FDS)
                if not data:
                    return
                self._start(fds)

    def _start(self, fds: Sequence[int]) -> None:
        """Fork a process that makes a unit. Without one (EAGAIN) its line ends without an exit code."""
        signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        try:
            pid = os.fork()
        except OSError:
            pid = -1
        if pid == 0:
            try:
                self._become_unit(fds)
            finally:
                os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        incoming, outgoing, line = fds
        os.close(incoming)
        os.close(outgoing)
        if pid > 0:
            self._lines[pid] = fd_passing.Socket(fileno=line)
        else:
            os.close(line)

    @staticmethod
    def _become_unit(fds: Sequence[int]) -> None:
        os.dup2(fds[0], 0)
        os.dup2(fds[1], 1)
        signal.set_wakeup_fd(-1)
        close_others({0, 1, 2})
        for number in (*PASSED_ON, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)  # what came for it meanwhile comes now
        child.make_unit()

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
                line = self._lines.pop(pid, None)
                if line is not None:
                    with contextlib.suppress(OSError):
                        line.send(b"%d" % os.waitstatus_to_exitcode(status))
                    line.close()


if __name__ == "__main__":
    from tiffin.builder import importing

    importing.install()
    main()
