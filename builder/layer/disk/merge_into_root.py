"""Several layers as one plain directory, for machines where none can be mounted over another.

A layer is unpacked beside the root, without what it hides, and then moved in: a rename for each directory or file that
is new, nothing is copied twice. Law: the root is then what an overlay of the layers shows.

Nothing runs in the root meanwhile. Its links lead nowhere: only paths whose every parent is a directory are used.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from tiffin.builder.layer.disk import xattrs
from tiffin.builder.layer.disk.directories import Directories, host_name, image_name
from tiffin.builder.layer.index import LayerIndex
from tiffin.builder.layer.paths import ROOT
from tiffin.cache.foundation.files import disk_errors, remove_tree


def merge_layer(tree: Path, index: LayerIndex, root: Path) -> None:
    """Move `tree`, unpacked without whiteouts, into `root`; raises StoreError. `tree` is useless afterwards."""
    with disk_errors(root):
        _hide(index, root)
        with Directories(tree) as new, Directories(root) as old:
            finished: list[tuple[str, os.stat_result]] = []
            pending = [ROOT]
            while pending:
                path = pending.pop()
                finished.append((path, os.fstat(new.descriptor(path))))  # before its times change, too
                pending += _merge_directory(new, old, path)
            # times last, as moving things in changes them; deepest first
            for path, st in reversed(finished[1:]):
                if path in index.implied:
                    continue
                _take_over(st, new.descriptor(path), old.descriptor(path))


def _hide(index: LayerIndex, root: Path) -> None:
    """Remove what the layer removes: whiteouts, and what opaque directories had before."""
    with Directories(root) as directories:
        for entry in index.entries:
            if entry.kind != "whiteout" and not entry.opaque:
                continue
            parent, _, name = entry.path.rpartition("/")
            try:
                fd = directories.descriptor(parent or ROOT)
                st = os.lstat(host_name(name) if name else b".", dir_fd=fd)
            except OSError:  # there is no such directory
                continue
            directories.forget(entry.path)
            if entry.kind == "whiteout":
                remove_tree(_below(fd, name))
            elif stat.S_ISDIR(st.st_mode):
                inner = directories.descriptor(entry.path)
                for child in os.listdir(inner):
                    remove_tree(_below(inner, child))
                directories.forget(entry.path)


def _merge_directory(new: Directories, old: Directories, path: str) -> list[str]:
    """Move what `path` holds; the directories that are in both, to be merged."""
    source, target = new.descriptor(path), old.descriptor(path)
    both = []
    with os.scandir(source) as items:
        names = [(os.fsencode(item.name), item.is_dir(follow_symlinks=False)) for item in items]
    for name, is_directory in names:
        try:
            there = os.lstat(name, dir_fd=target)
        except FileNotFoundError:
            there = None
        if there is not None and stat.S_ISDIR(there.st_mode):
            if is_directory:
                both.append(image_name(name) if path == ROOT else f"{path}/{image_name(name)}")
                continue
            remove_tree(_below(target, image_name(name)))
        elif there is not None and is_directory:
            os.unlink(name, dir_fd=target)
        _move(name, source, target, is_directory=is_directory)
    return both


def _move(name: bytes, source: int, target: int, *, is_directory: bool) -> None:
    if not is_directory:
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
        return
    before = os.stat(name, dir_fd=source, follow_symlinks=False)
    if before.st_mode & stat.S_IWUSR:
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
        return
    # its entry for ".." changes, which a user other than root may only do in a writable directory
    os.chmod(name, 0o700, dir_fd=source)
    os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
    os.chmod(name, stat.S_IMODE(before.st_mode), dir_fd=target)


def _take_over(st: os.stat_result, source: int, target: int) -> None:
    """Take over owner, mode, attributes and times of a directory that was merged."""
    os.fchown(target, st.st_uid, st.st_gid)
    os.fchmod(target, stat.S_IMODE(st.st_mode))
    new, old = (xattrs.read_all(b"/proc/self/fd/%d/." % fd) for fd in (source, target))
    for name in old.keys() - new.keys():
        with contextlib.suppress(OSError):  # a label of the machine's own
            os.removexattr(target, host_name(name))
    for name, value in new.items():
        if value != old.get(name):
            os.setxattr(target, host_name(name), value)
    os.utime(target, ns=(st.st_atime_ns, st.st_mtime_ns))


def _below(directory: int, name: str) -> Path:
    return Path(f"/proc/self/fd/{directory}") / os.fsdecode(host_name(name))
