"""What a step changed in a plain directory: two scans, before and after, compared.

A scan keeps of every path what changes with it: inode, type and mode, owner, size, times. The time of change (ctime) is
the kernel's own and no program can set it back. It moves in ticks of a few milliseconds, so a scan waits for the next
one if something changed in the present. Law: the changes are those that an overlay would have in its upper directory,
directories on the way included.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from tiffin.builder.errors import BuildError
from tiffin.builder.layer.change import Change
from tiffin.builder.layer.disk.diff import inode_of, linked_changes, read_entry
from tiffin.builder.layer.disk.directories import Directories, host_name, image_name
from tiffin.builder.layer.index import Entry, new_entry, sort_key
from tiffin.builder.layer.paths import ROOT

CLOCK_REALTIME_COARSE = 5  # clock_gettime(2): the clock of ctime; Python has no name for it
TICK_WAIT_SECONDS = 0.001
Mark = tuple[int, int, int, int, int, int, int, int]
Scan = dict[str, Mark]


def scan(root: Path, skipped: Collection[str]) -> Scan:
    """Look at everything below `root` but what is at or below `skipped`. Raises BuildError."""
    found: Scan = {}
    newest = 0
    try:
        with Directories(root) as directories:
            pending = [ROOT]
            while pending:
                path = pending.pop()
                fd = directories.descriptor(path)
                prefix = "" if path == ROOT else f"{path}/"
                with os.scandir(fd) as items:
                    for item in items:
                        st = item.stat(follow_symlinks=False)
                        child = prefix + image_name(os.fsencode(item.name))
                        if child in skipped or (
                            stat.S_ISSOCK(st.st_mode) and read_entry(child, st, fd, os.fsencode(item.name)) is None
                        ):
                            continue
                        found[child] = _mark(st)
                        newest = max(newest, st.st_ctime_ns)
                        if stat.S_ISDIR(st.st_mode):
                            pending.append(child)
    except OSError as exc:
        raise BuildError(f"cannot read {root}: {exc.strerror}", remedy="build again") from exc
    while time.clock_gettime_ns(CLOCK_REALTIME_COARSE) <= newest:
        time.sleep(TICK_WAIT_SECONDS)
    return found


def drop_unused(found: Scan, made: Iterable[str]) -> None:
    """Take the directories `made` out of a scan unless something else is in them."""
    for path in sorted(made, key=sort_key, reverse=True):
        if not any(other.startswith(f"{path}/") for other in found):
            found.pop(path, None)


def diff_scans(root: Path, before: Scan, after: Scan, *, owner: tuple[int, int] = (0, 0)) -> list[Change]:
    """Return the changes between two scans of `root`, sorted.

    They open their files below it, which must stay meanwhile.

    What belongs to `owner`, the uid and gid that stood for root, is root's in the layer.
    """
    changed = {path for path, mark in after.items() if before.get(path) != mark}
    removed = [path for path in before.keys() - after.keys() if _is_kept_directory(after, path.rpartition("/")[0])]
    for path in [*changed, *removed]:
        while path := path.rpartition("/")[0]:
            changed.add(path)
    directories = Directories(root)
    found: list[tuple[Entry, tuple[int, int] | None]] = [(new_entry(path, "whiteout", 0), None) for path in removed]
    for path in changed:
        parent, _, name = path.rpartition("/")
        fd = directories.descriptor(parent or ROOT)
        st = os.lstat(host_name(name), dir_fd=fd)
        entry = read_entry(path, st, fd, host_name(name))
        if entry is not None:
            if (entry.uid, entry.gid) == owner:
                entry = entry._replace(uid=0, gid=0)
            found.append((entry, inode_of(entry, st)))
    found.sort(key=lambda item: sort_key(item[0].path))
    return linked_changes(found, directories)


def _is_kept_directory(after: Scan, path: str) -> bool:
    """Whether a whiteout in `path` says something: what is gone together with its directory needs none."""
    return not path or (path in after and stat.S_ISDIR(after[path][1]))


def _mark(st: os.stat_result) -> Mark:
    return (
        st.st_ino,
        st.st_mode,
        st.st_uid,
        st.st_gid,
        st.st_size if not stat.S_ISDIR(st.st_mode) else 0,
        st.st_mtime_ns,
        st.st_ctime_ns,
        st.st_rdev,
    )
