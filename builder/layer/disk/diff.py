"""What a step changed: the entries of an overlay's upper directory, as a layer has them.

Runs as the user namespace's root (or real root), when no process of the step is left. Laws: what materialize or unpack
wrote comes back as it was; sockets that stand for no device are left out, as nothing is behind them; whiteouts below an
opaque directory too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from tiffin.builder.errors import BuildError
from tiffin.builder.layer.change import Change
from tiffin.builder.layer.disk import xattrs
from tiffin.builder.layer.disk.directories import Directories, host_name, image_name
from tiffin.builder.layer.index import Entry, linked_entry, new_entry, sort_key
from tiffin.builder.layer.paths import ROOT

MAX_PATH_BYTES = 4095  # what a tar reader, ours too, can unpack
_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
}


def diff_upper(upper: Path) -> list[Change]:
    """Return the changes in `upper`, sorted; names of one inode become hardlinks to the first. Raises BuildError.

    The changes open their files below `upper`, which must stay until they are packed.
    """
    try:
        directories = Directories(upper)
    except OSError as exc:
        raise BuildError(f"cannot read {upper}: {exc.strerror}", remedy="build again") from exc
    found: list[tuple[Entry, tuple[int, int] | None]] = []
    pending = [(ROOT, False)]
    while pending:
        path, is_hidden = pending.pop()
        try:
            entries = _list(directories, path)
        except OSError as exc:
            raise BuildError(
                f'cannot read "{path}", which the step changed: {exc.strerror}', remedy="build again"
            ) from exc
        for entry, inode in entries:
            if entry.kind == "dir":
                pending.append((entry.path, is_hidden or entry.opaque))
            elif entry.kind == "whiteout" and is_hidden:
                continue
            found.append((entry, inode))
    found.sort(key=lambda item: sort_key(item[0].path))
    return linked_changes(found, directories)


def linked_changes(found: list[tuple[Entry, tuple[int, int] | None]], directories: Directories) -> list[Change]:
    """Return sorted entries, each with its inode if it has several names, as changes that read below `directories`."""
    first: dict[tuple[int, int], Entry] = {}
    changes = []
    for entry, inode in found:
        if inode is not None:
            holder = first.setdefault(inode, entry)
            if holder is not entry:
                changes.append(Change(linked_entry(holder, entry.path, holder.path)))
                continue
        opener = _opener(directories, entry.path) if entry.kind == "file" and entry.size else None
        changes.append(Change(entry, opener))
    return changes


def _list(directories: Directories, path: str) -> list[tuple[Entry, tuple[int, int] | None]]:
    """Return the entries of one directory, with the inode of those that have more than one name."""
    fd = directories.descriptor(path)
    prefix = "" if path == ROOT else f"{path}/"
    result = []
    with os.scandir(fd) as items:
        for item in items:
            st = item.stat(follow_symlinks=False)
            name = os.fsencode(item.name)
            entry = read_entry(prefix + image_name(name), st, fd, name)
            if entry is None:
                continue
            result.append((entry, inode_of(entry, st)))
    return result


def inode_of(entry: Entry, st: os.stat_result) -> tuple[int, int] | None:
    """Return the inode of what has more names than one, else None. Raises BuildError for a name that is too long."""
    if len(host_name(entry.path)) > MAX_PATH_BYTES:
        raise BuildError(
            f'the path "{entry.path[:60]}…" of {len(entry.path)} characters is too long for a layer',
            remedy="make the step remove it",
        )
    return (st.st_dev, st.st_ino) if st.st_nlink > 1 and entry.kind not in ("dir", "whiteout") else None


def read_entry(path: str, st: os.stat_result, parent: int, name: bytes) -> Entry | None:
    """Return what is called `name` in the open directory `parent`; None for what a layer cannot have."""
    kind = _KINDS.get(stat.S_IFMT(st.st_mode))
    if kind is None:
        return _device_of_socket(path, st, parent, name)
    if kind == "char" and not st.st_rdev:
        return new_entry(path, "whiteout", 0)
    entry = Entry(
        path,
        kind,
        0o777 if kind == "symlink" else stat.S_IMODE(st.st_mode),
        st.st_uid,
        st.st_gid,
        st.st_size if kind == "file" else 0,
        st.st_mtime_ns,
        image_name(os.readlink(name, dir_fd=parent)) if kind == "symlink" else "",
        (),
        os.major(st.st_rdev) if kind in ("char", "block") else 0,
        os.minor(st.st_rdev) if kind in ("char", "block") else 0,
        "",
        -1,
        False,
    )
    found = _attributes(parent, name)
    return _with_attributes(entry, found) if found else entry


def _attributes(parent: int, name: bytes) -> dict[str, bytes]:
    """Read through /proc: no call reads attributes relative to a directory, and opening a device may do things."""
    return xattrs.read_all(b"/proc/self/fd/%d/%b" % (parent, name))


def _device_of_socket(path: str, st: os.stat_result, parent: int, name: bytes) -> Entry | None:
    """Return the device node that a socket stands for; of another nothing is left when its process is gone."""
    found = xattrs.socket_device(_attributes(parent, name))
    if found is None:
        return None
    device, owner = found
    uid, gid = owner or (st.st_uid, st.st_gid)
    entry = new_entry(path, device.kind, stat.S_IMODE(st.st_mode), mtime_ns=st.st_mtime_ns)
    return entry._replace(uid=uid, gid=gid, major=device.major, minor=device.minor)


def _with_attributes(entry: Entry, found: dict[str, bytes]) -> Entry:
    """Return `entry` with its attributes, and with what tiffin itself noted in some of them."""
    uid, gid = xattrs.owner(found, entry.kind) or (entry.uid, entry.gid)
    is_opaque = entry.kind == "dir" and found.get(xattrs.OVERLAY_OPAQUE) == b"y"
    entry = entry._replace(uid=uid, gid=gid, xattrs=xattrs.from_tree(found, entry.kind), opaque=is_opaque)
    device = xattrs.device(found) if entry.kind == "file" and not entry.size else None
    if device is None:
        return entry
    return entry._replace(kind=device.kind, major=device.major, minor=device.minor, mode=entry.mode or device.mode)


def _opener(directories: Directories, path: str) -> Callable[[], BinaryIO]:
    def open_file() -> BinaryIO:
        try:
            return os.fdopen(directories.open(path), "rb", buffering=0)
        except OSError as exc:
            raise BuildError(f'cannot read "{path}": {exc.strerror}', remedy="build again") from exc

    return open_file
