"""What stays with a container in the background: its streams, its log, and whoever is attached.

One loop over descriptors, no thread: the same process forks again for a restart. A client that does not read makes the
command wait once it is far behind, as a pipe would.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import time
from collections.abc import Callable, Collection, Sequence

from tiffin.builder.containers.lifecycle import messages
from tiffin.builder.containers.lifecycle.log import STDERR, STDOUT, LogWriter
from tiffin.builder.sandbox.child import fd_passing
from tiffin.builder.sandbox.child.fd_passing import Socket
from tiffin.cache.foundation.signals import signal
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tiffin.builder.sandbox.child.spec import SandboxSpec
    from tiffin.builder.sandbox.launch import ExitStatus, Running

READ_BYTES = messages.MAX_BYTES
KINDS = {STDOUT: messages.STDOUT, STDERR: messages.STDERR}
NEVER = float("inf")
END_OF_FILE = b"\x04"  # as a terminal types it
Signaller = Callable[[int], None]


class Companion(Protocol):
    """What is attended to in the same loop while a command runs."""

    def seconds(self) -> float:
        """Return how long nothing needs to be done."""

    def descriptors(self) -> Sequence[int]:
        """Return what to wait for."""

    def attend(self, ready: Collection[int]) -> None:
        """Do what is to be done now."""


class Client:
    """Somebody who is connected."""

    def __init__(self, line: Socket, *, is_attached: bool = False) -> None:
        self.line = line
        self.queue = messages.Queue(line)
        self.is_attached = is_attached
        self.types = False  # its stdin is the command's


class Supervisor:
    """The streams of a container's commands, one after another, and its clients. Use it in `with`.

    `stopping` becomes true when a client asks for the end: the command is not to be started again then. `is_held`: the
    command ends with the client `first`, unless that leaves it.
    """

    def __init__(
        self,
        listener: Socket,
        log: LogWriter,
        *,
        tty: bool,
        interactive: bool,
        closes_stdin: bool,
        first: Socket | None,
        is_held: bool = False,
    ) -> None:
        self.stopping = False
        self._listener = listener
        self._log = log
        self._tty = tty
        self._interactive = interactive
        self._closes_stdin = closes_stdin
        self._clients = [Client(first, is_attached=True)] if first is not None else []
        self._holder = self._clients[0] if is_held and first is not None else None
        self._outputs: dict[int, str] = {}  # an end of a pipe or terminal: the stream
        self._input = -1
        self._typed = b""
        self._input_ends = False  # when what is typed is written
        self._inner: list[int] = []
        self._size = b""
        self._signal: Signaller = lambda number: None
        self._companion: Companion | None = None
        self._patience_ends = NEVER  # by the clock that does not jump: when a command that is to end is killed

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_streams()
        self._log.close()
        for client in self._clients:
            client.line.close()
        self._listener.close()

    # -- streams ------------------------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """The terminal of the command that is about to be started, "" where it has none."""
        if not self._tty:
            return ""
        if not self._inner:
            self._step(-1, 0.0)  # the client's size, if one is here already
            outer, inner = os.openpty()
            os.set_blocking(outer, False)
            self._outputs[outer], self._input, self._inner = STDOUT, outer, [inner]
            self._resize()
        return os.ttyname(self._inner[0])

    def opened(self, spec: SandboxSpec) -> tuple[int, int, int]:
        """Open the streams of the command of `spec`."""
        if self._tty:
            assert self.path
            return (self._inner[0],) * 3
        if self._interactive:
            reader, self._input = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._input, False)
        else:
            reader = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._inner = [reader, self._output(spec, STDOUT), self._output(spec, STDERR)]
        return self._inner[0], self._inner[1], self._inner[2]

    def _output(self, spec: SandboxSpec, stream: str) -> int:
        if spec.named_streams:
            from tiffin.builder.sandbox.mount_substitutes import stream_pipe

            reader, writer = stream_pipe(spec, stream)
        else:
            reader, writer = os.pipe2(os.O_CLOEXEC)
        self._outputs[reader] = stream
        return writer

    def _close_streams(self) -> None:
        for fd in {*self._outputs, *self._inner, self._input} - {-1}:
            os.close(fd)
        self._outputs, self._inner, self._input = {}, [], -1
        self._typed, self._input_ends = b"", False

    # -- a command ----------------------------------------------------------------------------------------------------

    def attend(self, running: Running, signaller: Signaller, companion: Companion | None = None) -> ExitStatus:
        """Stay with a command that is started, to its end; `signaller` sends it signals. Raises SandboxError."""
        while self._inner:
            os.close(self._inner.pop())
        self._signal, self._companion = signaller, companion
        try:
            while not self._step(running.fileno()):
                pass
            status = running.wait()
            self._drain()
            self._log.end_lines()
            for client in self._clients:
                client.queue.add(messages.EXITED + b"%d" % status.code)
            return status
        finally:
            self._signal, self._companion, self._patience_ends = lambda number: None, None, NEVER
            self._close_streams()

    def end_late(self, seconds: float, *, for_good: bool) -> None:
        """Kill the command, which was asked to end, if it has not by then; -1: never. `for_good`: not begun again."""
        self.stopping = self.stopping or for_good
        self._patience_ends = time.monotonic() + seconds if seconds >= 0 else NEVER

    def pause(self, seconds: float) -> None:
        """Wait before the next start, or until a client asks for the end."""
        deadline = time.monotonic() + seconds
        while not self.stopping and (left := deadline - time.monotonic()) > 0:
            self._step(-1, left)

    def finish(self, exit_code: int) -> None:
        """Tell everybody who is connected that it has ended, and stay until each has taken all, or is gone.

        Who reads slowly (a pager) loses nothing; the container has ended by then, whoever asks.
        """
        for client in self._clients:
            client.queue.add(messages.ENDED + b"%d" % exit_code)
        while waiting := [client for client in self._clients if not client.queue.is_empty]:
            self._wait_until_one_reads(waiting)

    def _step(self, ending: int, seconds: float | None = None) -> bool:
        """Wait for something, and do what is to be done; True once `ending` is readable."""
        poller = select.poll()
        poller.register(self._listener, select.POLLIN)
        if ending >= 0:
            poller.register(ending, select.POLLIN)
        if not any(client.queue.is_full for client in self._clients if client.is_attached):
            for fd in self._outputs:
                if fd != self._input:
                    poller.register(fd, select.POLLIN)
        if self._input >= 0:
            wanted = (select.POLLIN if self._input in self._outputs else 0) | (select.POLLOUT if self._typed else 0)
            poller.register(self._input, wanted)
        for client in self._clients:
            is_heard = not client.types or len(self._typed) < messages.MAX_QUEUE_BYTES
            events = (select.POLLIN if is_heard else 0) | (select.POLLOUT if not client.queue.is_empty else 0)
            poller.register(client.line, events)
        if self._companion is not None:
            seconds = min(self._companion.seconds(), max(self._patience_ends - time.monotonic(), 0.0))
            for fd in self._companion.descriptors():
                poller.register(fd, select.POLLIN)
        ready = dict(poller.poll(None if seconds is None else max(seconds * 1000, 1)))
        if self._companion is not None:
            self._companion.attend(ready)
        if time.monotonic() >= self._patience_ends:
            self._patience_ends = NEVER
            self._signal(signal.SIGKILL)
        for fd in [fd for fd in self._outputs if ready.get(fd, 0) & ~select.POLLOUT]:
            self._copy(fd)
        if self._input >= 0 and ready.get(self._input, 0) & (select.POLLOUT | select.POLLERR):
            self._type()
        for client in list(self._clients):
            self._serve(client, ready.get(client.line.fileno(), 0))
        if self._listener.fileno() in ready:
            self._accept()
        return ending in ready

    def _copy(self, fd: int) -> bool:
        """Copy what a stream has; False if there is nothing."""
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:  # EIO: nobody holds the inner end of the terminal any more
            data = b""
        stream = self._outputs[fd]
        if not data:
            del self._outputs[fd]
            if fd == self._input:
                self._input = -1
            os.close(fd)
            return False
        self._log.add(stream, data)
        for client in self._clients:
            if client.is_attached:
                client.queue.add(KINDS[stream] + data)
                client.queue.flush()
        return True

    def _drain(self) -> None:
        """Copy what is left: nobody writes any more, but a daemon that took a stream along may hold it open."""
        for fd in list(self._outputs):
            os.set_blocking(fd, False)
            while fd in self._outputs and self._copy(fd):
                self._wait_for_clients()

    def _wait_for_clients(self) -> None:
        while behind := [client for client in self._clients if client.queue.is_full]:
            self._wait_until_one_reads(behind)

    def _wait_until_one_reads(self, clients: Sequence[Client]) -> None:
        """Wait until one of clients takes messages, and send all of them theirs; those that are gone are forgotten."""
        poller = select.poll()
        for client in clients:
            poller.register(client.line, select.POLLOUT)
        poller.poll()
        for client in clients:
            if not client.queue.flush():
                self._forget(client)

    # -- stdin --------------------------------------------------------------------------------------------------------

    def _type(self) -> None:
        try:
            self._typed = self._typed[os.write(self._input, self._typed) :]
        except BlockingIOError:
            return
        except OSError:  # it reads no more
            self._typed, self._input_ends = b"", not self._tty
        if self._input_ends and not self._typed:
            self._close_input()

    def _close_input(self) -> None:
        if self._input >= 0 and self._input not in self._outputs:
            os.close(self._input)
            self._input = -1

    def _end_input(self) -> None:
        if self._tty:
            self._typed += END_OF_FILE
        elif self._closes_stdin:
            self._input_ends = True
            if not self._typed:
                self._close_input()

    # -- clients ------------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            self._clients.append(Client(fd_passing.accept(self._listener)))

    def _serve(self, client: Client, events: int) -> None:
        is_here = client.queue.flush()
        if is_here and events & (select.POLLIN | select.POLLHUP | select.POLLERR):
            with contextlib.suppress(BlockingIOError):
                is_here = self._hear(client)
        if not is_here:
            self._forget(client)
            if client.types and not self._tty:
                self._end_input()

    def _forget(self, client: Client) -> None:
        """Take what a client that is gone said last, then do without it."""
        with contextlib.suppress(BlockingIOError):
            while self._hear(client):
                pass
        self._clients.remove(client)
        client.line.close()
        if client is self._holder:
            self.stopping, self._holder = True, None
            self._signal(signal.SIGKILL)

    def _hear(self, client: Client) -> bool:
        """Take a message of a client; False if it is gone. Raises BlockingIOError where there is none yet."""
        message = messages.receive(client.line)
        kind, data = message[:1], message[1:]
        if kind == messages.STDIN:
            client.types = bool(data)
            if data and self._interactive and self._input >= 0:
                self._typed += data
                self._type()
            elif not data:
                self._end_input()
        elif kind == messages.ATTACH:
            client.is_attached = True
        elif kind == messages.LEAVE:
            self._holder = None if client is self._holder else self._holder
        elif kind == messages.SIZE:
            self._size = data
            self._resize()
        elif kind in (messages.SIGNAL, messages.STOP):
            self.stopping = self.stopping or kind == messages.STOP
            self._signal(int(data))
        return bool(message)

    def _resize(self) -> None:
        if self._tty and self._size and self._input >= 0:
            import termios

            with contextlib.suppress(OSError):
                fcntl.ioctl(self._input, termios.TIOCSWINSZ, self._size)
