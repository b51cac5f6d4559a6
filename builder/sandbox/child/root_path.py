"""Open paths below a root that nothing in them leads out of.

openat2 does it in one call. Where a seccomp profile is older than that call, or the kernel lost a race, the path is
walked: each name is opened without following it, relative to the one before, and links are read and followed by us.
"""

from __future__ import annotations

import errno
import os
import stat

from tiffin.builder.sandbox.child import kernel

MAX_LINKS = 40  # the kernel's own limit
_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def open_in_root(root_fd: int, path: str, flags: int, *, follow: bool = True) -> int:
    """Open `path` as if `root_fd` were the root: no symlink, ".." or magic link leads out.

    `flags` has O_PATH or O_DIRECTORY.
    """
    try:
        return kernel.open_in_root(root_fd, path, flags, follow=follow)
    except OSError as exc:
        if exc.errno not in (errno.ENOSYS, errno.EAGAIN):  # the second: something was renamed or mounted meanwhile
            raise
    return walk_in_root(root_fd, path, flags, follow=follow)


def walk_in_root(root_fd: int, path: str, flags: int, *, follow: bool = True) -> int:
    """Open the same step by step. What a magic link is said to lead to is taken for a path inside."""
    way = [os.dup(root_fd)]  # the directories from the root to here, so that ".." is never asked of the kernel
    try:
        pending = path.split("/")[::-1]
        links = 0
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                os.stat(".", dir_fd=way[-1])  # of a file there is no way up
                if len(way) > 1:
                    os.close(way.pop())
                continue
            fd = os.open(os.fsencode(name), _STEP, dir_fd=way[-1])
            if not stat.S_ISLNK(os.fstat(fd).st_mode):
                way.append(fd)
                continue
            try:
                links += 1
                if not follow or links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                text = os.fsdecode(os.readlink(b"", dir_fd=fd))
            finally:
                os.close(fd)
            if text.startswith("/"):
                while len(way) > 1:
                    os.close(way.pop())
            pending += text.split("/")[::-1]
        if flags & os.O_DIRECTORY and not stat.S_ISDIR(os.fstat(way[-1]).st_mode):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return os.dup(way[-1]) if flags & os.O_PATH else os.open(".", flags | os.O_CLOEXEC, dir_fd=way[-1])
    finally:
        for fd in way:
            os.close(fd)
