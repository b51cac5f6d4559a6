"""Start sandboxes. A small server is forked while the process has one thread; each run is a fork of it.

If the main process ends in any way, the server dies with it, each runner with the server, and each sandbox's init with
its runner, which ends everything in the sandbox.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
from collections.abc import Callable, Sequence

from tiffin.builder.errors import SandboxError
from tiffin.builder.sandbox.child import fd_passing, kernel
from tiffin.builder.sandbox.child.spec import Outcome, SandboxSpec
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.signals import MAX_WAIT_SECONDS, signal

MAX_REPLY_BYTES = 1 << 16
MAX_REQUEST_BYTES = 16
MAX_FDS = 6  # the spec, three standard descriptors, the line of a way out, the reply socket


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitStatus:
    """How a command ended: `code` is 128 + n for a signal; `message` why it could not start, with code 126 or 127."""

    code: int
    message: str = ""


DEVICE_REQUEST = "mknod of "  # how what is asked for begins, if it is a device node


class StepAbandoned(SandboxError):
    """A sandbox was ended because its command asked for what it has not, `what`; one with emulation has it."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the command needs something that its sandbox does not have ({what})", remedy="use --isolation single"
        )
        self.what = what


class Running:
    """A command in a sandbox. One thread waits; any may kill."""

    def __init__(self, reply: fd_passing.Socket) -> None:
        self._reply = reply
        self._first = b""  # a message that was read before its turn

    def await_start(self) -> bool:
        """Wait until a command that announces it is executed; False where it is not: `wait` says why."""
        self._first = self._hear()
        if self._first and Outcome.decode(self._first).started:
            self._first = b""
            return True
        return False

    def wait(self) -> ExitStatus:
        """Wait for the end; raises SandboxError if the sandbox could not be made."""
        try:
            data = self._first or self._hear()
            while data and self._hear():  # until the runner is gone, and with it all inside
                pass
        finally:
            self._reply.close()
        if not data:
            return ExitStatus(code=128 + signal.SIGKILL)
        outcome = Outcome.decode(data)
        if outcome.beyond:
            raise StepAbandoned(outcome.beyond)
        status = outcome.status
        if status is None:
            raise SandboxError(f"cannot {outcome.error}: {outcome.reason}", remedy=_remedy(outcome.errno))
        return ExitStatus(code=status if status >= 0 else 128 - status, message=outcome.message)

    def _hear(self) -> bytes:
        if self._reply.fileno() >= 0:  # else whoever abandoned it is told below
            wait_for(self._reply.fileno())
        return fd_passing.hear(self._reply, MAX_REPLY_BYTES)

    def fileno(self) -> int:
        """Return the descriptor that can be read once the command has ended."""
        return self._reply.fileno()

    def abandon(self) -> None:
        """Let go of a command whose launcher was ended."""
        self._reply.close()

    def kill(self, number: int) -> None:
        """Send a signal to the command; SIGKILL ends everything in the sandbox. Too late is fine."""
        try:
            self._reply.send(b"%d" % number)
        except OSError:
            return


def wait_for(fd: int) -> None:
    """Wait until a descriptor can be read. Raises what a signal raises, at most a second after it came."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    while not poller.poll(MAX_WAIT_SECONDS * 1000):
        pass


class Launcher:
    """Talks to the server; thread-safe. Close it, or use it as a context manager."""

    def __init__(self, server: fd_passing.Socket, pid: int) -> None:
        self._server = server
        self._pid = pid

    @classmethod
    def start(cls) -> Launcher:
        """Fork the server. The process must still have only one thread."""
        ours, theirs = fd_passing.pair()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                ours.close()
                _serve(theirs, parent)
            finally:
                os._exit(1)
        theirs.close()
        return cls(ours, pid)

    def run(self, spec: SandboxSpec, *, stdin: int, stdout: int, stderr: int, way_out: int | None = None) -> Running:
        """Start a sandbox with these descriptors, which stay the caller's; `way_out` has what spec.way_out asks for."""
        ours, theirs = fd_passing.pair()
        memory = os.memfd_create("spec", os.MFD_CLOEXEC)
        more = [] if way_out is None else [way_out]
        try:
            with open(memory, "wb", closefd=False) as stream:
                stream.write(spec.encode())
            fd_passing.send(self._server, b"run", [memory, stdin, stdout, stderr, *more, theirs.fileno()])
        except OSError as exc:
            ours.close()
            raise SandboxError(f"the sandbox server is gone: {exc.strerror}", remedy="run the command again") from exc
        finally:
            theirs.close()
            os.close(memory)
        return Running(ours)

    def close(self) -> None:
        """End the server and with it every sandbox."""
        pid, self._pid = self._pid, 0
        self._server.close()
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            if pid:  # else it was closed before
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    def kill_all(self) -> None:
        """End the server with every process below it: what a command in a sandbox that it entered started stays there
        else.
        """
        from tiffin.builder.sandbox.child.reaper import descendants, kill_each, tracers

        pids = [pid for pid, _ in descendants(self._pid)] if self._pid else []
        tracing = tracers(pids)  # they end with init, after what they trace
        kill_each(pid for pid in pids if pid not in tracing)
        self.close()

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(requests: fd_passing.Socket, parent: int) -> None:
    """Serve requests with a fork for each."""
    gc.freeze()  # what the main process dropped (sockets of a pull) would close its descriptor's number, ours by then
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    os.setsid()  # Ctrl-C is for the main process, which passes it on
    # no capability of a sandbox opens what is in /proc of us and of each init: the interpreter, descriptors, memory
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    close_others({0, 1, 2, requests.fileno()})
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # the main process decides how its sandboxes end
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    from tiffin.builder.sandbox.child import enter  # beside the main process, which does without

    enter.load_emulation()  # here, and not in each fork
    while True:
        data, fds = fd_passing.receive(requests, MAX_REQUEST_BYTES, MAX_FDS)
        if not data:
            return
        server = os.getpid()
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _run_request(fds, server, enter.run)
        for fd in fds:
            os.close(fd)


def _run_request(
    fds: Sequence[int], parent: int, run: Callable[[SandboxSpec, list[int], fd_passing.Socket], None]
) -> None:
    try:
        memory, *standard, reply_fd = fds
        os.lseek(memory, 0, os.SEEK_SET)
        with open(memory, "rb") as stream:
            spec = SandboxSpec.decode(stream.read())
        if os.getppid() == parent:
            run(spec, standard, fd_passing.Socket(fileno=reply_fd))
    finally:
        os._exit(1)


def close_others(keep: set[int]) -> None:
    """Close every descriptor but those of `keep`."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            try:
                os.close(int(name))
            except OSError:
                continue


def _remedy(number: int) -> str:
    return "tiffin info shows what this machine allows" if number else "run with --debug and report it"
