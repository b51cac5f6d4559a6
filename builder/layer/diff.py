"""What a step changed: the entries of an overlay's upper directory, as a layer has them.

Runs as the user namespace's root (or real root), when no process of the step is left.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from builder.errors import BuildError
from builder.layer import xattrs
from builder.layer.changes import Change
from builder.layer.index import Entry, sort_key

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
}


def diff_upper(upper: Path) -> list[Change]:
    """The changes in `upper`, sorted; sockets are left out, names of one inode become hardlinks to the first."""
    root = os.fspath(upper)
    found: list[tuple[str, os.stat_result]] = []
    pending = [""]
    while pending:
        directory = pending.pop()
        prefix = f"{directory}/" if directory else ""
        with os.scandir(f"{root}/{directory}") as items:
            for item in items:
                st = item.stat(follow_symlinks=False)
                path = prefix + item.name
                found.append((path, st))
                if stat.S_ISDIR(st.st_mode):
                    pending.append(path)
    found.sort(key=lambda pair: sort_key(pair[0]))
    first: dict[tuple[int, int], str] = {}
    changes = []
    for path, st in found:
        entry = _entry(f"{root}/{path}", path, st)
        if entry is None:
            continue
        if st.st_nlink > 1 and entry.kind == "file":
            target = first.setdefault((st.st_dev, st.st_ino), path)
            if target != path:
                changes.append(Change(entry._replace(kind="hardlink", link=target, size=0)))
                continue
        opener = _opener(f"{root}/{path}") if entry.kind == "file" and entry.size else None
        changes.append(Change(entry, opener))
    return changes


def _entry(host_path: str, path: str, st: os.stat_result) -> Entry | None:
    kind = _KINDS.get(stat.S_IFMT(st.st_mode))
    if kind is None:  # a socket: nothing is left of it when its process is gone
        return None
    major, minor = os.major(st.st_rdev), os.minor(st.st_rdev)
    if kind == "char" and not st.st_rdev:
        return Entry(path, "whiteout", 0, 0, 0, 0, 0, "", (), 0, 0, "", -1, False)
    found = xattrs.read_all(host_path)
    uid, gid, mode = st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)
    if xattrs.OWNER in found:
        uid, gid = (int(part) for part in found[xattrs.OWNER].split(b":"))
    if kind == "file" and xattrs.DEVICE in found:
        letter, _, numbers = found[xattrs.DEVICE].decode().partition(" ")
        kind = "char" if letter == "c" else "block"
        major, minor = (int(part) for part in numbers.split(":"))
    elif kind not in ("char", "block"):
        major = minor = 0
    return Entry(
        path,
        kind,
        0o777 if kind == "symlink" else mode,
        uid,
        gid,
        st.st_size if kind == "file" else 0,
        st.st_mtime_ns,
        os.readlink(host_path) if kind == "symlink" else "",
        xattrs.clean(found) if found else (),
        major,
        minor,
        "",
        -1,
        kind == "dir" and found.get(xattrs.OVERLAY_OPAQUE) == b"y",
    )


def _opener(host_path: str) -> Callable[[], BinaryIO]:
    def open_file() -> BinaryIO:
        try:
            return os.fdopen(os.open(host_path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0)
        except OSError as exc:
            raise BuildError(f"cannot read {host_path}: {exc.strerror}", remedy="build again") from exc

    return open_file
