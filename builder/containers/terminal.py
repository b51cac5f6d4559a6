"""A terminal for a container: a pseudo-terminal whose outer end is joined to ours, raw, with our size."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import selectors
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator

READ_BYTES = 1 << 16


class Terminal:
    """Owns both ends; `inner` goes to the container."""

    def __init__(self) -> None:
        self._outer, self.inner = pty.openpty()
        for fd in (self._outer, self.inner):
            os.set_inheritable(fd, False)
        self._wake_reader, self._wake_writer = os.pipe2(os.O_CLOEXEC)
        self.resize()

    def resize(self) -> None:
        """Give the inner terminal our size."""
        with contextlib.suppress(OSError):
            size = fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8)
            fcntl.ioctl(self._outer, termios.TIOCSWINSZ, size)

    @contextlib.contextmanager
    def joined(self, *, forward_input: bool) -> Iterator[None]:
        """Copy both ways until the block ends; our terminal is raw meanwhile and is put back in any case."""
        saved = None
        if forward_input and os.isatty(0):
            saved = termios.tcgetattr(0)
            tty.setraw(0)
        previous = signal.signal(signal.SIGWINCH, lambda *_: self.resize())
        thread = threading.Thread(target=self._copy, args=(forward_input,), name="terminal", daemon=True)
        thread.start()
        try:
            yield
        finally:
            os.close(self.inner)
            os.write(self._wake_writer, b"x")
            thread.join()
            signal.signal(signal.SIGWINCH, previous)
            if saved is not None:
                termios.tcsetattr(0, termios.TCSADRAIN, saved)
            for fd in (self._outer, self._wake_reader, self._wake_writer):
                os.close(fd)

    def _copy(self, forward_input: bool) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._outer, selectors.EVENT_READ)
            selector.register(self._wake_reader, selectors.EVENT_READ)
            if forward_input:
                with contextlib.suppress(PermissionError, ValueError):  # a regular file is always ready
                    selector.register(0, selectors.EVENT_READ)
            ended = False
            while True:
                ready = {key.fd for key, _ in selector.select(0 if ended else None)}
                if self._outer in ready:
                    if not self._out():
                        return
                elif ended:
                    return
                if 0 in ready and not self._in():
                    selector.unregister(0)
                ended = ended or self._wake_reader in ready
                if ended and self._wake_reader in ready:
                    selector.unregister(self._wake_reader)

    def _out(self) -> bool:
        """From the container to us; False at its end."""
        try:
            data = os.read(self._outer, READ_BYTES)
        except OSError:  # EIO: the last holder of the inner end is gone
            return False
        view = memoryview(data)
        while view:
            view = view[os.write(sys.stdout.fileno(), view) :]
        return bool(data)

    def _in(self) -> bool:
        data = os.read(0, READ_BYTES)
        if not data:
            with contextlib.suppress(OSError):
                os.write(self._outer, b"\x04")  # end of file, as a terminal types it
            return False
        os.write(self._outer, data)
        return True
