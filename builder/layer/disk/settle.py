"""Make the tree that a step left equal the layer made of it: without what is not a change, with the layer's times.

Law: a diff of the tree gives the layer again. A tree that is kept under a DiffID must be that layer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from tiffin.builder.layer.disk import xattrs
from tiffin.builder.layer.disk.directories import Directories, host_name
from tiffin.builder.layer.index import Entry
from tiffin.builder.layer.unchanged import Reduced
from tiffin.cache.foundation.files import disk_error


def settle(upper: Path, made: Reduced) -> None:
    """Make an overlay's upper directory hold what is left of its changes; raises StoreError.

    No process is left in it.
    """
    try:
        with Directories(upper) as directories:
            touched = {path.rpartition("/")[0] for path in made.whiteouts}
            for entry in made.dropped:  # deepest first
                _remove(directories, entry)
                touched.add(entry.path.rpartition("/")[0])
            for path in made.transparent:
                parent, _, name = path.rpartition("/")
                place = b"/proc/self/fd/%d/%b" % (directories.descriptor(parent), host_name(name))
                os.removexattr(place, xattrs.OVERLAY_OPAQUE, follow_symlinks=False)
            for path in made.whiteouts:
                parent, _, name = path.rpartition("/")
                with contextlib.suppress(FileExistsError):  # a whiteout already, where nothing needed one
                    os.mknod(host_name(name), stat.S_IFCHR, os.makedev(0, 0), dir_fd=directories.descriptor(parent))
            _set_times(directories, made.retimed)
            if touched:
                _set_times(directories, (change.entry for change in made.changes if change.entry.path in touched))
    except OSError as exc:
        raise disk_error(upper, exc) from exc


def set_times(root: Path, entries: Iterable[Entry]) -> None:
    """Give what lies below `root` the times of `entries`; raises StoreError."""
    try:
        with Directories(root) as directories:
            _set_times(directories, entries)
    except OSError as exc:
        raise disk_error(root, exc) from exc


def _set_times(directories: Directories, entries: Iterable[Entry]) -> None:
    for entry in entries:
        if entry.kind not in ("whiteout", "hardlink"):
            parent, _, name = entry.path.rpartition("/")
            times, fd = (entry.mtime_ns, entry.mtime_ns), directories.descriptor(parent)
            os.utime(host_name(name), ns=times, dir_fd=fd, follow_symlinks=False)


def _remove(directories: Directories, entry: Entry) -> None:
    parent, _, last = entry.path.rpartition("/")
    name, fd = host_name(last), directories.descriptor(parent)
    if entry.kind != "dir":
        os.unlink(name, dir_fd=fd)
        return
    try:
        os.rmdir(name, dir_fd=fd)
    except OSError as exc:
        if exc.errno != errno.ENOTEMPTY:
            raise
        inner = directories.descriptor(entry.path)
        for left in os.listdir(inner):  # sockets, which no layer has
            os.unlink(left, dir_fd=inner)
        os.rmdir(name, dir_fd=fd)
    directories.forget(entry.path)
