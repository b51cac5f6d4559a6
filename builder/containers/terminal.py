"""A terminal for a container: a pseudo-terminal whose outer end is joined to ours, raw, with our size."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import termios
import tty
from collections.abc import Iterator

from tiffin.builder.sandbox.launch import Running
from tiffin.cache.foundation.signals import MAX_WAIT_SECONDS
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.sandbox.child.spec import SandboxSpec

READ_BYTES = 1 << 16
MAX_BUFFER_BYTES = 1 << 20  # of what one side sends and the other does not take; then the first has to wait
END_OF_FILE = b"\x04"  # as a terminal types it
STDIN, STDOUT, STDERR = 0, 1, 2
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR


class Terminal:
    """A pseudo-terminal; `inner` goes to the container. Use it in `with`.

    `interactive`: our stdin is typed into it, and is raw meanwhile if it is a terminal.
    """

    def __init__(self, *, interactive: bool) -> None:
        self._typing = interactive
        self._outer, self.inner = os.openpty()
        os.set_blocking(self._outer, False)
        self._to_us = b""
        self._to_container = b""
        self._hung_up = False

    def __enter__(self) -> Terminal:
        self._resize()
        return self

    def __exit__(self, *_: object) -> None:
        self._close_inner()
        os.close(self._outer)

    @property
    def path(self) -> str:
        """The inner end on this machine."""
        return os.ttyname(self.inner)

    def opened(self, _: SandboxSpec) -> tuple[int, int, int]:
        """Return what goes to the container as its streams."""
        return (self.inner,) * 3

    def drain(self) -> None:
        """Do nothing: `join` left nothing behind."""

    def join(self, _: Running) -> None:
        """Copy both ways until nothing holds the inner end any more, which the container must have by now."""
        with raw(STDIN) if self._typing else as_written(STDOUT), self._following_size():
            self._close_inner()
            while self._to_us or not self._hung_up:
                ready = self._wait()
                if ready.get(self._outer, 0) & select.POLLOUT:
                    self._to_container = self._to_container[_write(self._outer, self._to_container) :]
                if ready.get(self._outer, 0) & _READABLE:
                    self._read_output()
                if STDIN in ready:
                    self._read_input()
                if self._to_us:
                    self._to_us = self._to_us[_write(STDOUT, self._to_us) :]

    def _wait(self) -> dict[int, int]:
        poller = select.poll()
        if not self._hung_up:
            events = select.POLLIN if len(self._to_us) < MAX_BUFFER_BYTES else 0
            poller.register(self._outer, events | (select.POLLOUT if self._to_container else 0))
        if self._to_us:
            poller.register(STDOUT, select.POLLOUT)
        if self._typing and not self._hung_up and len(self._to_container) < MAX_BUFFER_BYTES:
            poller.register(STDIN, select.POLLIN)
        return dict(poller.poll(MAX_WAIT_SECONDS * 1000))

    def _read_output(self) -> None:
        try:
            data = os.read(self._outer, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # EIO: the last holder of the inner end is gone
            data = b""
        self._to_us += data
        self._hung_up = not data

    def _read_input(self) -> None:
        try:
            data = os.read(STDIN, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # our terminal was taken away
            data = b""
        self._to_container += data or END_OF_FILE
        self._typing = bool(data)

    def _close_inner(self) -> None:
        if self.inner >= 0:
            os.close(self.inner)
            self.inner = -1

    def _resize(self) -> None:
        """Give the inner terminal our size; its programs are told by the kernel."""
        for fd in (STDIN, STDOUT, STDERR):
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._outer, termios.TIOCSWINSZ, fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8))
                return

    @contextlib.contextmanager
    def _following_size(self) -> Iterator[None]:
        before = signal.signal(signal.SIGWINCH, lambda *_: self._resize())
        try:
            self._resize()  # it may have changed before the handler was there
            yield
        finally:
            signal.signal(signal.SIGWINCH, before)


@contextlib.contextmanager
def raw(fd: int) -> Iterator[None]:
    """Put a terminal into raw mode for the block, and restore its modes in any case."""
    if not os.isatty(fd):
        yield
        return
    saved = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, saved)


@contextlib.contextmanager
def as_written(fd: int) -> Iterator[None]:
    """Show what comes as it is: the inner terminal made the line ends already."""
    if not os.isatty(fd):
        yield
        return
    saved = termios.tcgetattr(fd)
    changed = [saved[0], saved[1] & ~termios.OPOST, *saved[2:]]
    try:
        termios.tcsetattr(fd, termios.TCSADRAIN, changed)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, saved)


def _write(fd: int, data: bytes) -> int:
    try:
        return os.write(fd, data)
    except BlockingIOError:
        return 0
