"""What a container's supervisor and its clients say to each other: messages over a socket in the container's folder.

The first byte is the kind, the rest its data. A socket's path may be longer than the kernel takes, so that it is named
through a descriptor of the folder.
"""

from __future__ import annotations

import contextlib
import os
import select
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET
from collections.abc import Iterator
from pathlib import Path

from tiffin.builder.errors import StoreError
from tiffin.builder.sandbox.child.fd_passing import Socket, hear

FILE = "control"
MAX_BYTES = 32 << 10  # of the data of a message
MAX_QUEUE_BYTES = 1 << 20  # of what one side does not read; then the other has to wait
BACKLOG = 16

# from a client
STDIN = b"0"  # typed; without data: its end
ATTACH = b"a"  # wants the output from now on
SIZE = b"w"  # rows and columns of its terminal, as TIOCSWINSZ has them
SIGNAL = b"s"  # a number, for the command
STOP = b"h"  # a number, for the command, which is not to be started again
LEAVE = b"l"  # goes, and the command is to go on: who is gone without this was ended
# from a supervisor
STDOUT = b"1"
STDERR = b"2"
EXITED = b"e"  # the exit code of the command, which may be started again
ENDED = b"x"  # the exit code, when the container has ended for good


class Queue:
    """Messages for the other side of a connection, which may not read just now."""

    def __init__(self, line: Socket) -> None:
        line.setblocking(False)
        self._line = line
        self._messages: list[bytes] = []
        self._bytes = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._messages

    @property
    def is_full(self) -> bool:
        """Whether the other side is so far behind that whoever makes messages should wait."""
        return self._bytes > MAX_QUEUE_BYTES

    def add(self, message: bytes) -> None:
        """Have a message sent by the next `flush`."""
        self._messages.append(message)
        self._bytes += len(message)

    def flush(self) -> bool:
        """Send what can be sent; False if the other side is gone."""
        try:
            while self._messages:
                self._line.send(self._messages[0])
                self._bytes -= len(self._messages.pop(0))
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def flush_all(self) -> None:
        """Send all that waits, as before one goes; return early if the other side is gone."""
        while self.flush() and self._messages:
            poller = select.poll()
            poller.register(self._line, select.POLLOUT)
            poller.poll()


def listen(folder: Path) -> Socket:
    """Listen in a container's folder. Raises StoreError."""
    line = Socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    try:
        with _directory(folder) as name:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{name}/{FILE}")
            line.bind(f"{name}/{FILE}")
        line.listen(BACKLOG)
        line.setblocking(False)
    except OSError as exc:
        line.close()
        raise StoreError(f"cannot listen in {folder}: {exc.strerror}", remedy="see whether the disk is full") from exc
    return line


def connect(folder: Path) -> Socket | None:
    """Connect to the supervisor of a container; None where there is none."""
    line = Socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    try:
        with _directory(folder) as name:
            line.connect(f"{name}/{FILE}")
    except OSError:
        line.close()
        return None
    return line


def receive(line: Socket) -> bytes:
    """Return the next message, b"" where the other side is gone. Raises BlockingIOError where there is none yet."""
    try:
        return hear(line, MAX_BYTES + 1)
    except BlockingIOError:
        raise
    except OSError:
        return b""


@contextlib.contextmanager
def _directory(folder: Path) -> Iterator[str]:
    """Give a short name of a folder."""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
