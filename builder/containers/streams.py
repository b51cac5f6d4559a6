"""The standard streams of a container, as docker and podman give them: what the command may open by name (/dev/stderr)
again.

A socket cannot be opened, a pipe or terminal of another user may not be, and opening a file again would begin at its
start. In the place of such a stream the command gets a pipe of our own, and what goes through it is copied.
"""

from __future__ import annotations

import os
import select
import stat

from tiffin.builder.errors import StoreError
from tiffin.builder.sandbox.child.spec import SandboxSpec
from tiffin.builder.sandbox.launch import Running
from tiffin.cache.foundation.signals import MAX_WAIT_SECONDS

CHUNK_BYTES = 1 << 16
STDIN, STDOUT, STDERR = 0, 1, 2
NULL_DEVICE = os.makedev(1, 3)


class Streams:
    """`opened` gives what goes to the container. Use it in `with`.

    `interactive`: with our stdin. `is_own`: the command runs as whoever this process is.
    """

    path = ""  # of a terminal

    def __init__(self, *, interactive: bool, is_own: bool) -> None:
        self._interactive = interactive
        self._is_own = is_own
        self._inner: list[int] = []  # the container's ends, and what else it is given
        self._outputs: dict[int, int] = {}  # an end of a pipe: our own stream that what comes goes to
        self._input = -1  # the end of the pipe to its stdin
        self._typed = b""
        self._spec: SandboxSpec | None = None  # of a command that can open its pipes only where they have names

    def __enter__(self) -> Streams:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_inner()
        for reader in [*self._outputs, *([self._input] if self._input >= 0 else [])]:
            os.close(reader)

    def opened(self, spec: SandboxSpec) -> tuple[int, int, int]:
        """Return the streams of the command of `spec`, whose root is there."""
        self._spec = spec if spec.named_streams else None
        stdin, stdout = self._stdin(), self._output(STDOUT)
        if self._is_given(STDERR) or not os.path.sameopenfile(STDOUT, STDERR):
            return stdin, stdout, self._output(STDERR)
        if self._spec is not None:
            from tiffin.builder.sandbox.mount_substitutes import join_streams

            join_streams(self._spec)
        return stdin, stdout, stdout

    def join(self, running: Running) -> None:
        """Copy until the command, which has its ends by now, has ended."""
        self._close_inner()
        while self._outputs or self._input >= 0:
            ready = self._wait(running)
            for reader in [reader for reader in self._outputs if reader in ready]:
                self._copy(reader)
            if self._input in ready:
                self._type()
            elif self._input >= 0 and STDIN in ready:
                self._read()
            if running.fileno() in ready:
                return

    def drain(self) -> None:
        """Copy what is left in the pipes: nobody writes any more."""
        for reader in list(self._outputs):
            os.set_blocking(reader, False)
            while reader in self._outputs and self._copy(reader):
                pass

    def _stdin(self) -> int:
        if not self._interactive:
            self._inner.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            return self._inner[-1]
        mode = os.fstat(STDIN).st_mode
        if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)) or self._is_given(STDIN):
            return STDIN
        reader, self._input = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._input, False)
        self._inner.append(reader)
        return reader

    def _output(self, ours: int) -> int:
        if self._is_given(ours):
            return ours
        if self._spec is None:
            reader, writer = os.pipe2(os.O_CLOEXEC)
        else:
            from tiffin.builder.sandbox.mount_substitutes import stream_pipe

            reader, writer = stream_pipe(self._spec, "stdout" if ours == STDOUT else "stderr")
        self._outputs[reader] = ours
        self._inner.append(writer)
        return writer

    def _is_given(self, ours: int) -> bool:
        """Whether a stream of ours goes to the command as it is."""
        st = os.fstat(ours)
        if stat.S_ISCHR(st.st_mode):
            return st.st_rdev == NULL_DEVICE
        return stat.S_ISFIFO(st.st_mode) and self._is_own and st.st_uid == os.geteuid() and self._spec is None

    def _wait(self, running: Running) -> dict[int, int]:
        poller = select.poll()
        for reader in (running.fileno(), *self._outputs):
            poller.register(reader, select.POLLIN)
        if self._input >= 0:
            poller.register(*((self._input, select.POLLOUT) if self._typed else (STDIN, select.POLLIN)))
        return dict(poller.poll(MAX_WAIT_SECONDS * 1000))

    def _copy(self, reader: int) -> bool:
        """Copy what is there; False if nothing is."""
        try:
            data = os.read(reader, CHUNK_BYTES)
        except BlockingIOError:
            return False
        if not data or not write_all(self._outputs[reader], data):
            del self._outputs[reader]
            os.close(reader)
        return bool(data)

    def _read(self) -> None:
        try:
            self._typed = os.read(STDIN, CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:  # the other end was reset
            self._typed = b""
        if not self._typed:
            self._close_input()

    def _type(self) -> None:
        try:
            self._typed = self._typed[os.write(self._input, self._typed) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # it reads no more
            self._close_input()

    def _close_input(self) -> None:
        os.close(self._input)
        self._input = -1

    def _close_inner(self) -> None:
        while self._inner:
            os.close(self._inner.pop())


def write_all(fd: int, data: bytes) -> bool:
    """Write to a stream of ours, which may be one that does not block; False where nobody reads. Raises StoreError."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            poller = select.poll()
            poller.register(fd, select.POLLOUT)
            poller.poll()
        except (BrokenPipeError, ConnectionResetError):
            return False
        except OSError as exc:
            raise StoreError(f"cannot write the command's output: {exc.strerror}", remedy="free some space") from exc
    return True
