"""Tell which files of a new overlay were looked up, by the names that the kernel has cached when the command has ended.

The cache of names of a new overlay is empty. Whatever uses a path (open, exec, stat, link, io_uring) looks its name up
and so leaves it there; to list a directory leaves nothing. openat2 with RESOLVE_CACHED asks for a name without looking
it up.

Two things could make the answer wrong, and then there is none. The kernel forgets names when memory is short, the
oldest first: marks, which are older than all that the command looks up, are gone by then. And it answers "not cached"
when something is mounted at that moment: every question is asked several times, between controls that are cached.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import struct
import time

from tiffin.builder.sandbox.child import kernel
from tiffin.builder.sandbox.child.fd_passing import Socket, pair, receive, send
from tiffin.builder.sandbox.child.reading.question import COMPLETE, answer_path
from tiffin.builder.sandbox.child.root_path import open_in_root
from tiffin.builder.sandbox.child.spec import SandboxSpec
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

RESOLVE_CACHED = 0x20  # Linux 5.12
MARKS = tuple(b".tiffin-mark-%d" % number for number in range(64))
NEVER = b".tiffin-never"  # what nobody looks up
CONTROL = b"proc"  # a mount point: every root has it
READ_BEFORE = ("etc/passwd", "etc/group")  # by tiffin, on disk, for the user that the command has
PASSES, CONTROLS = 4, 64  # the second: in each pass, at least
TRIES, PAUSE_SECONDS = 5, 0.02  # while others mount
NODES = "/sys/devices/system/node"

_HOW = struct.pack("<QQQ", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, 0, RESOLVE_CACHED | kernel.RESOLVE_NO_SYMLINKS)
_OPENAT2 = 437
_syscall = ctypes.CFUNCTYPE(
    ctypes.c_long, ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_long, use_errno=True
)(("syscall", kernel.LIBC))  # with the types of this one call, as it is made very often


class Lookups:
    """One run. Its init makes this before it forks the command, which calls `begin`; init calls `finish` at the end.

    `spec.watched` names a file with the paths that are asked for, each ended by NUL; what is found is written to
    `answer_path` of it.
    """

    def __init__(self, spec: SandboxSpec) -> None:
        self._root = f"{spec.scratch_dir}/root"
        self._paths = os.open(spec.watched, os.O_RDONLY | os.O_CLOEXEC)
        self._answer = os.open(answer_path(spec.watched), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._ours, self._theirs = pair()

    def begin(self) -> None:
        """Look the marks up, as the first of all, and hand over the root: where that fails, there will be no answer."""
        with contextlib.suppress(OSError):
            root = kernel.clone_tree(self._root, recursive=False)
            for mark in MARKS:
                with contextlib.suppress(FileNotFoundError):
                    os.stat(mark, dir_fd=root, follow_symlinks=False)
            for path in READ_BEFORE:
                with contextlib.suppress(OSError):
                    os.close(open_in_root(root, path, os.O_PATH))
            send(self._theirs, b"root", [root])
            os.close(root)
        self.leave()

    def leave(self) -> None:
        """Close what only the command needs."""
        self._theirs.close()

    def finish(self) -> None:
        """Write what was looked up, once nothing of the command runs any more."""
        root = handed_over(self._ours)
        if root is None:
            return
        with open(self._paths, "rb") as file:
            paths = file.read().split(b"\0")[:-1]
        found = looked_up(root, paths)
        os.close(root)
        if found is not None:
            with open(self._answer, "wb") as file:
                file.write(b"\0".join((COMPLETE, *found)))


def can_tell(spec: SandboxSpec) -> bool:
    """Whether a sandbox is one whose cache of names is in the hands of its kernel alone.

    Names are forgotten for each control group and each memory node by itself, so marks have to be in the one there is.
    """
    whole = spec.has_namespaces and spec.own_pids and not spec.root_dir and not spec.joins and not spec.joined_pids
    return whole and not spec.cgroup_dirs and has_one_node(NODES)


def has_one_node(folder: str) -> bool:
    """Whether all memory is near all processors; a kernel that knows no nodes has no such folder."""
    try:
        return len([name for name in os.listdir(folder) if re.fullmatch("node[0-9]+", name)]) < 2
    except FileNotFoundError:
        return os.path.isdir(os.path.dirname(folder))
    except OSError:
        return False


def handed_over(line: Socket) -> int | None:
    """Return the root that the command handed over, None where it did not come to that."""
    try:
        _, fds = receive(line, 4, 1)
    except OSError:
        return None
    return fds[0] if fds else None


def looked_up(root: int, paths: Sequence[bytes]) -> list[bytes] | None:
    """Return which of these were looked up below `root`, None where that cannot be told for certain."""
    for _ in range(TRIES):
        found = ask_for_all(root, paths)
        if found is not None:
            break
        time.sleep(PAUSE_SECONDS)
    is_known = not is_cached(root, NEVER) and all(is_cached(root, mark) for mark in MARKS)
    return found if is_known else None


def ask_for_all(root: int, paths: Sequence[bytes]) -> list[bytes] | None:
    """Ask for all paths several times; None where a control was not answered right."""
    found: list[bytes] = []
    unknown = paths
    for _ in range(PASSES):
        directories: dict[bytes, bool] = {b"": True}
        left = []
        if not all(is_cached(root, CONTROL) for _ in range(CONTROLS)):
            return None
        for number, path in enumerate(unknown):
            if number % CONTROLS == 0 and not is_cached(root, CONTROL):
                return None
            parent = path.rpartition(b"/")[0]
            if parent not in directories:
                directories[parent] = is_cached(root, parent)
            if directories[parent] and is_cached(root, path):
                found.append(path)
            else:
                left.append(path)
        unknown = left
    return found


def is_cached(root: int, path: bytes) -> bool:
    """Whether a name is cached. What the kernel answers in any other way counts as such."""
    fd = _syscall(_OPENAT2, root, path, _HOW, len(_HOW))
    if fd >= 0:
        os.close(fd)
        return True
    return ctypes.get_errno() != errno.EAGAIN
