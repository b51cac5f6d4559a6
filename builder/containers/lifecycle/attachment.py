"""This process's streams joined to those of a container in the background, until it ends or somebody detaches."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import termios
from collections.abc import Collection, Iterator
from types import FrameType

from tiffin.builder.containers.lifecycle import messages
from tiffin.builder.containers.run import DEFAULT_DETACH_KEYS, FORWARDED
from tiffin.builder.containers.streams import write_all
from tiffin.builder.containers.terminal import as_written, raw
from tiffin.builder.errors import UsageError
from tiffin.builder.sandbox.child.fd_passing import Socket
from tiffin.cache.foundation.signals import MAX_WAIT_SECONDS, signal
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

STDIN, STDOUT, STDERR = 0, 1, 2
STREAMS = ("stdin", "stdout", "stderr")
KILLED = 128 + signal.SIGKILL
KINDS = {"stdout": messages.STDOUT, "stderr": messages.STDERR}
_CONTROL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def parse_detach_keys(text: str) -> bytes:
    """Return what is typed for keys such as ctrl-p,ctrl-q or ctrl-],x. Raises UsageError."""
    keys = b""
    for name in text.split(",") if text else ():
        control = name.removeprefix("ctrl-") if name.startswith("ctrl-") else ""
        if len(control) == 1 and control.isascii() and control.isalpha():
            keys += bytes([ord(control.lower()) - ord("a") + 1])
        elif control in _CONTROL and control:
            keys += bytes([_CONTROL[control]])
        elif len(name) == 1 and name.isascii():
            keys += name.encode()
        else:
            raise UsageError(f'--detach-keys "{text}": "{name}" is not a key', remedy="write ctrl-p,ctrl-q")
    return keys


class Attachment:
    """A connection to a container's supervisor. `run` gives the exit code, None where somebody detached."""

    def __init__(
        self,
        line: Socket,
        *,
        tty: bool,
        types: bool,
        forwards: bool = True,
        detach_keys: str = DEFAULT_DETACH_KEYS,
        shows: Collection[str] = STREAMS,
    ) -> None:
        self._line = line
        self._shown = {KINDS[name]: number for number, name in enumerate(STREAMS) if name in shows and name in KINDS}
        self._tty = tty
        self._types = types
        self._forwards = forwards and not (tty and types)
        self._keys = parse_detach_keys(detach_keys) if tty and types and os.isatty(STDIN) else b""
        self._matched = 0  # of the keys
        self._queue = messages.Queue(line)
        self._is_detached = False

    def announce(self) -> None:
        """Say of what size the terminal is, which a command that begins looks at, and that the output is wanted."""
        self._resized()
        self._queue.add(messages.ATTACH)
        self._queue.flush()

    def run(self) -> int | None:
        """Copy until the end; return the exit code, None where somebody detached."""
        joined = (
            raw(STDIN) if self._tty and self._types else as_written(STDOUT) if self._tty else contextlib.nullcontext()
        )
        with joined, self._signals():
            while not self._is_detached:
                message = self._next()
                if message is None:
                    continue
                kind, data = message[:1], message[1:]
                if kind in self._shown:
                    write_all(self._shown[kind], data)
                elif kind == messages.ENDED:
                    return int(data)
                elif not message:
                    return KILLED  # the supervisor was, as by rm -f, and the command with it
            self._queue.add(messages.LEAVE)
            self._queue.flush_all()
        return None

    def kill(self, number: int) -> None:
        """Send the command a signal."""
        self._queue.add(messages.SIGNAL + b"%d" % number)
        self._queue.flush()

    def _next(self) -> bytes | None:
        """Wait for the next message of the supervisor; meanwhile what is typed goes there."""
        poller = select.poll()
        poller.register(self._line, select.POLLIN | (0 if self._queue.is_empty else select.POLLOUT))
        if self._types and not self._queue.is_full:
            poller.register(STDIN, select.POLLIN)
        ready = dict(poller.poll(MAX_WAIT_SECONDS * 1000))
        if STDIN in ready:
            self._read()
        self._queue.flush()
        if ready.get(self._line.fileno(), 0) & ~select.POLLOUT:
            with contextlib.suppress(BlockingIOError):
                return messages.receive(self._line)
        return None

    def _read(self) -> None:
        try:
            data = os.read(STDIN, messages.MAX_BYTES)
        except BlockingIOError:
            return
        except OSError:  # our terminal was taken away
            data = b""
        if self._keys and data:
            data = self._without_keys(data)
            if not data:
                return
        self._queue.add(messages.STDIN + data)
        self._types = bool(data)

    def _without_keys(self, data: bytes) -> bytes:
        """Return what is typed but for the keys that detach, which are kept back while they may still become that."""
        result = b""
        for number in data:
            pending = self._keys[: self._matched] + bytes([number])
            while not self._keys.startswith(pending):
                result += pending[:1]
                pending = pending[1:]
            self._matched = len(pending)
            if self._matched == len(self._keys):
                self._is_detached = True
                break
        return result

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        before: dict[int, Any] = {}
        if self._tty:
            before[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, self._resized)
        for number in FORWARDED if self._forwards else ():
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, self._forward)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _forward(self, number: int, _: FrameType | None) -> None:
        self.kill(number)

    def _resized(self, *_: object) -> None:
        for fd in (STDIN, STDOUT, STDERR) if self._tty else ():
            with contextlib.suppress(OSError):
                size = fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * struct.calcsize("HHHH"))
                if any(size):
                    self._queue.add(messages.SIZE + size)
                    break
        self._queue.flush()
