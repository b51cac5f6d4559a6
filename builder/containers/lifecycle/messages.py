"""What a container's supervisor and its clients say to each other: messages over a socket in the container's folder.

The first byte is the kind, the rest its data. A socket's path may be longer than the kernel takes, so that it is named
through a descriptor of the folder.
"""

from __future__ import annotations

import contextlib
import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET
from pathlib import Path

from tiffin.builder.errors import StoreError
from tiffin.builder.sandbox.child.fd_passing import Socket

FILE = "control"
MAX_BYTES = 32 << 10  # of the data of a message
BACKLOG = 16

# from a client
STDIN = b"0"  # typed; without data: its end
ATTACH = b"a"  # wants the output from now on
SIZE = b"w"  # rows and columns of its terminal, as TIOCSWINSZ has them
SIGNAL = b"s"  # a number, for the command
STOP = b"h"  # a number, for the command, which is not to be started again
# from a supervisor
STDOUT = b"1"
STDERR = b"2"
EXITED = b"e"  # the exit code of the command, which may be started again
ENDED = b"x"  # the exit code, when the container has ended for good


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


@contextlib.contextmanager
def _directory(folder: Path):  # type: ignore[no-untyped-def]  # a short name of it
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
