"""Where a file system puts what is made: away from what was deleted lately.

ext4 without a journal looks at every inode that was deleted in the last five minutes (its `recently_deleted`) before it
makes one in the same group, so a tree made right after another was deleted takes many times as long. Directories made
in one with the flag FS_TOPDIR_FL are spread over the groups by their names, and names of scratch directories are drawn.
"""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

FS_TOPDIR_FL = 0x00020000  # linux/fs.h
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602  # of machines with longs of 64 bits
_LONG_BYTES = 8
_known: set[Path] = set()  # asked by this process


def spread_below(folder: Path) -> None:
    """Make the directories in `folder` lie apart from each other, where its file system can; never fails."""
    if folder in _known:
        return
    _known.add(folder)
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        flags = int.from_bytes(fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(_LONG_BYTES)), sys.byteorder)
        if not flags & FS_TOPDIR_FL:
            fcntl.ioctl(fd, FS_IOC_SETFLAGS, (flags | FS_TOPDIR_FL).to_bytes(_LONG_BYTES, sys.byteorder))
    except OSError:  # tmpfs, overlayfs, xfs, btrfs and others have no such flag, and no need of it
        pass
    finally:
        os.close(fd)
