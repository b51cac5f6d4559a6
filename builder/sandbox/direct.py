"""Start the one sandbox of a container, or of a command in one, as a child of this very process.

Where the sandbox has a pid namespace, its init is that child: it ends with this process, and everything in it with the
init. Where something has to be done beside it (orphans are to be ended, a network is to be connected, a sandbox is
entered), a runner stays between the two.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os

from tiffin.builder.sandbox.child import enter, fd_passing, kernel
from tiffin.builder.sandbox.child.spec import SandboxSpec
from tiffin.builder.sandbox.launch import ExitStatus, Launcher, Running, close_others
from tiffin.cache.foundation.signals import signal
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST_UNUSED = 3
LEFT_TO_PARENT = (*enter.FORWARDED, signal.SIGALRM)  # this process handles them, and decides how its sandbox ends


class DirectRunning(Running):
    """A command whose init is a child of this process. `held`: what lies in it outlives the init."""

    def __init__(self, reply: fd_passing.Socket, held: fd_passing.Socket, init: int) -> None:
        super().__init__(reply)
        self._held = held
        self._init = init
        self._pidfd = os.pidfd_open(init)

    def wait(self) -> ExitStatus:
        """Wait for the end; raises SandboxError if the sandbox could not be made. What interrupts the wait ends it."""
        try:
            return super().wait()
        except BaseException:
            self.kill(signal.SIGKILL)  # else `abandon` would wait for a command that nobody ends
            raise
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Reap the init, once it ends."""
        super().abandon()
        init, self._init = self._init, 0
        if init:
            with contextlib.suppress(ChildProcessError):  # the launcher was closed
                os.waitpid(init, 0)  # by then nothing runs in its namespace
            os.close(self._pidfd)
        self._held.close()  # not before: calls that nobody answers any more would fail, and the command go on

    def kill(self, number: int) -> None:
        """Send a signal to the command; SIGKILL ends everything in the sandbox. Too late is fine."""
        if self._init:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)


class DirectLauncher(Launcher):
    """Starts one sandbox. `stays`: this process does little more than wait for it, so that memory that neither writes
    to is shared for long.
    """

    def __init__(self, *, stays: bool = False) -> None:
        self._pid = 0
        self._reply: fd_passing.Socket | None = None
        self._ends_at_once = True  # else the runner has something to do at the end
        self._stays = stays

    def run(self, spec: SandboxSpec, *, stdin: int, stdout: int, stderr: int, way_out: int | None = None) -> Running:
        """Start the sandbox with these descriptors, which stay the caller's."""
        if not spec.emulated:
            from tiffin.builder.sandbox.child.emulation import bounds, devices  # noqa: F401  # here, and not in the init
        if self._stays:
            gc.freeze()  # a collection writes to all it looks at, and so would one now
        self._reply, theirs = fd_passing.pair()
        self._ends_at_once = spec.own_pids
        fds = (stdin, stdout, stderr, *(() if way_out is None else (way_out,)))
        # they wait until there is a command to have them
        before = signal.pthread_sigmask(signal.SIG_BLOCK, enter.FORWARDED)
        try:
            if not spec.needs_runner and len(os.listdir("/proc/self/task")) == 1:
                return self._init(spec, fds, self._reply, theirs)
            return self._runner(spec, fds, self._reply, theirs)
        finally:
            theirs.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _init(
        self, spec: SandboxSpec, fds: Sequence[int], reply: fd_passing.Socket, theirs: fd_passing.Socket
    ) -> Running:
        held, holder = fd_passing.pair()
        try:
            self._pid = kernel.fork_into(kernel.CLONE_NEWPID)
        except OSError:  # a profile around us that cannot look into clone3: the C library does without, too
            held.close()
            holder.close()
            return self._runner(spec, fds, reply, theirs)
        if self._pid == 0:
            try:
                reply.close()
                held.close()
                enter.be_direct_init(spec, _leave_parent(fds, {theirs.fileno(), holder.fileno()}), theirs, holder)
            finally:
                os._exit(1)
        holder.close()
        return DirectRunning(reply, held, self._pid)

    def _runner(
        self, spec: SandboxSpec, fds: Sequence[int], reply: fd_passing.Socket, theirs: fd_passing.Socket
    ) -> Running:
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                reply.close()
                own = _leave_parent(fds, {theirs.fileno()})
                kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() == parent:
                    signal.pthread_sigmask(signal.SIG_UNBLOCK, enter.FORWARDED)
                    enter.run(spec, own, theirs)
            finally:
                os._exit(1)
        return Running(reply)

    def close(self) -> None:
        """End the sandbox, unless that has ended."""
        pid, self._pid = self._pid, 0
        if self._reply is not None:
            self._reply.close()  # a runner that has to end what it started sees it, and does
        with contextlib.suppress(ChildProcessError):  # it was waited for
            if pid and os.waitpid(pid, os.WNOHANG)[0] == 0:
                if self._ends_at_once:
                    os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _leave_parent(fds: Sequence[int], keep: set[int]) -> list[int]:
    """Let go, in a child, of what is the parent's; return the streams of the command under numbers of their own."""
    gc.freeze()  # what the parent dropped would close its descriptor's number, ours by then
    os.setsid()  # Ctrl-C is for the parent, which passes it on
    # no capability of a sandbox opens what is in /proc of us and of each init: the interpreter, descriptors, memory
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    for number in LEFT_TO_PARENT:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    own = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_UNUSED) for fd in fds]
    close_others({0, 1, 2, *own, *keep})
    return own
