"""Answers to calls that make an inode: it belongs to who makes it, or to the group of a set-group-ID directory.

What root makes elsewhere is root's without a record, and the kernel makes it.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from tiffin.builder.sandbox.child.emulation import process
from tiffin.builder.sandbox.child.emulation.credentials import CAP_FSETID, CAP_MKNOD
from tiffin.builder.sandbox.child.emulation.filter import CREATING, is_invalid
from tiffin.builder.sandbox.child.emulation.inodes import Record, device_of, make_placeholder, parent_of, remove
from tiffin.builder.sandbox.child.emulation.notification import (
    CONTINUE,
    Answer,
    Caller,
    Handler,
    signed,
    tell_of_device,
)
from tiffin.builder.sandbox.child.emulation.process import AT_FDCWD, copied_socket, socket_path
from tiffin.cache.foundation.frozen import replace

_MAX_LINKS = 40  # the kernel's MAXSYMLINKS
_CREAT_FLAGS = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
_TMPFILE = CREATING & ~os.O_CREAT  # __O_TMPFILE
_MODE = 0o7777
_OPEN_HOW_BYTES = 24
# the nodes that can be opened: those of /dev that mean the same everywhere
_NODES = {
    ("char", 1, 3): b"null",
    ("char", 1, 5): b"zero",
    ("char", 1, 7): b"full",
    ("char", 1, 8): b"random",
    ("char", 1, 9): b"urandom",
}
_Arguments = tuple[int, ...]


class Creation:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.handlers: dict[str, Handler] = {
            "open": lambda tid, a: self._open(tid, AT_FDCWD, a[0], signed(a[1]), a[2]),
            "openat": lambda tid, a: self._open(tid, a[0], a[1], signed(a[2]), a[3]),
            "creat": lambda tid, a: self._open(tid, AT_FDCWD, a[0], _CREAT_FLAGS, a[1]),
            "openat2": self._openat2,
            "mkdir": lambda tid, a: self._mkdir(tid, AT_FDCWD, a[0], a[1]),
            "mkdirat": lambda tid, a: self._mkdir(tid, a[0], a[1], a[2]),
            "symlink": lambda tid, a: self._symlink(tid, a[0], AT_FDCWD, a[1]),
            "symlinkat": lambda tid, a: self._symlink(tid, a[0], a[1], a[2]),
            "mknod": lambda tid, a: self._mknod(tid, AT_FDCWD, a[0], a[1], a[2]),
            "mknodat": lambda tid, a: self._mknod(tid, a[0], a[1], a[2], a[3]),
            "bind": self._bind,
        }

    def _owner(self, tid: int, directory: bytes) -> Record | None:
        """Return who what is made in `directory` will belong to; None if it needs no record."""
        credentials = self._caller.processes.credentials(tid)
        is_root = not (credentials.fsuid or credentials.fsgid)
        group = self._caller.inodes.inherited_group(directory, from_root=not is_root)
        if group is None and is_root:
            return None
        return Record(credentials.fsuid, credentials.fsgid if group is None else group)

    def _mode(self, tid: int, path: bytes, mode: int, owner: Record | None, *, is_written: bool = False) -> int:
        """Return the mode of a new file: less the umask where no default access list decides, and less set-id bits.

        Those that a directory's group would give to somebody foreign to it, or the first write would take away.
        """
        if owner is not None and mode & 0o6000:
            mode &= ~self._refused_bits(tid, mode, owner, is_written=is_written)
        if not self._caller.inodes.has_default_list(parent_of(path.rstrip(b"/"))):
            mode &= ~process.umask(tid)
        return mode & _MODE

    def _refused_bits(self, tid: int, mode: int, owner: Record, *, is_written: bool) -> int:
        credentials = self._caller.processes.credentials(tid)
        if credentials.can(CAP_FSETID):
            return 0
        is_foreign, is_executed = not credentials.is_in_group(owner.gid), bool(mode & stat.S_IXGRP)
        takes_group = (is_foreign and is_executed) or (is_written and (is_foreign or is_executed))
        return (stat.S_ISGID if takes_group else 0) | (stat.S_ISUID if is_written else 0)

    # -- files --------------------------------------------------------------------------------------------------------

    def _open(self, tid: int, directory: int, address: int, flags: int, mode: int) -> Answer:
        if flags & os.O_PATH or is_invalid(flags):
            return CONTINUE
        text = self._caller.memory.read_string(tid, address)
        if flags & os.O_CREAT and text.endswith(b"/"):
            return CONTINUE  # EISDIR
        path = self._caller.place(tid, directory, text, follow=True)
        if not flags & (os.O_EXCL | os.O_DIRECTORY) and (node := self._node(path, flags)) is not None:
            try:
                return self._caller.give_descriptor(node, close_on_exec=bool(flags & os.O_CLOEXEC))
            finally:
                os.close(node)
        if not flags & CREATING:
            return CONTINUE
        if not flags & os.O_NOFOLLOW:
            path = self._caller.end(tid, path)
        owner = self._owner(tid, path if flags & _TMPFILE else parent_of(path))
        if owner is None:
            return CONTINUE
        mode = self._mode(tid, path, mode, owner, is_written=bool(flags & os.O_ACCMODE))
        self._caller.check()
        fd = self._create(path, flags, mode)
        if fd is None:
            return CONTINUE
        try:
            self._caller.inodes.write(b"self/fd/%d" % fd, owner, follow=True)
            return self._caller.give_descriptor(fd, close_on_exec=bool(flags & os.O_CLOEXEC))
        finally:
            os.close(fd)

    def _node(self, path: bytes, flags: int) -> int | None:
        """Return the device behind the socket at `path`, open, if it is one of those that every sandbox has."""
        try:
            if not stat.S_ISSOCK(os.stat(path, follow_symlinks=not flags & os.O_NOFOLLOW).st_mode):
                return None
            record = self._caller.inodes.record(path, follow=True)
        except OSError:
            return None
        name = (
            _NODES.get((record.device.kind, record.device.major, record.device.minor))
            if record and record.device
            else None
        )
        if record is None or record.device is None or name is None:
            return None
        node = os.open(b"/dev/" + name, flags & ~(os.O_CREAT | os.O_TRUNC) | os.O_CLOEXEC | os.O_NOCTTY)
        if os.fstat(node).st_rdev == os.makedev(record.device.major, record.device.minor):
            return node
        os.close(node)
        return None

    def _create(self, path: bytes, flags: int, mode: int) -> int | None:
        """Return the new file, open; None if something is there already, which the kernel opens."""
        if flags & _TMPFILE:
            return os.open(path, flags, mode)
        for _ in range(_MAX_LINKS):
            try:
                return os.open(path, flags | os.O_CREAT | os.O_EXCL, mode)
            except FileExistsError:
                if flags & (os.O_EXCL | os.O_NOFOLLOW) or not _is_dangling(path):
                    return None
                path = os.path.join(parent_of(path), os.readlink(path))
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))

    def _openat2(self, tid: int, arguments: _Arguments) -> Answer:
        """Answer like openat where no other way to resolve the path is asked for."""
        directory, address, how, size, *_ = arguments
        if size < _OPEN_HOW_BYTES:
            return CONTINUE
        flags, mode, resolve = struct.unpack("=QQQ", self._caller.memory.read(tid, how, _OPEN_HOW_BYTES))
        if resolve:
            return CONTINUE
        return self._open(tid, directory, address, flags, mode)

    # -- others -------------------------------------------------------------------------------------------------------

    def _mkdir(self, tid: int, directory: int, address: int, mode: int) -> Answer:
        if not self._caller.memory.read_string(tid, address).strip(b"/"):
            return CONTINUE  # the root directory, which `mkdir -p` begins with, or nothing: neither has a parent
        path = self._caller.path(tid, directory, address, follow=False)
        owner = self._owner(tid, parent_of(path.rstrip(b"/")))
        if owner is None:
            return CONTINUE
        mode = self._mode(tid, path, mode, owner)
        self._caller.check()
        os.mkdir(path, mode)
        return self._record(path, owner, is_directory=True)

    def _symlink(self, tid: int, target: int, directory: int, address: int) -> Answer:
        path = self._caller.path(tid, directory, address, follow=False)
        owner = self._owner(tid, parent_of(path.rstrip(b"/")))
        if owner is None:
            return CONTINUE
        text = self._caller.memory.read_string(tid, target)
        self._caller.check()
        os.symlink(text, path)
        return self._record(path, owner)

    def _mknod(self, tid: int, directory: int, address: int, mode: int, number: int) -> Answer:
        kind = stat.S_IFMT(mode & 0xFFFF) or stat.S_IFREG
        number &= 0xFFFFFFFF
        is_device = kind in (stat.S_IFCHR, stat.S_IFBLK)
        if is_device and kind == stat.S_IFCHR and not number:
            return CONTINUE  # a whiteout; the overlay refuses it
        if is_device and not self._caller.processes.credentials(tid).can(CAP_MKNOD):
            return CONTINUE  # EPERM, if it comes to that
        path = self._caller.path(tid, directory, address, follow=False)
        owner = self._owner(tid, parent_of(path.rstrip(b"/")))
        if owner is None and not is_device:
            return CONTINUE
        mode = self._mode(tid, path, mode, owner)
        self._caller.check()
        if is_device:
            device = device_of(kind, number)
            tell_of_device(self._caller, path, device)
            make_placeholder(path, mode)
            return self._record(path, replace(owner or Record(0, 0), device=device))
        os.mknod(path, kind | mode)
        assert owner is not None
        return self._record(path, owner)

    def _bind(self, tid: int, arguments: _Arguments) -> Answer:
        """Return a socket with a name, made by the kernel for a copy of the process's descriptor, with its text as it
        is.
        """
        descriptor, address, size, *_ = arguments
        text = socket_path(self._caller.memory, tid, address, size)
        if not text:
            return CONTINUE
        path = self._caller.place(tid, AT_FDCWD, text, follow=False)
        is_moved = self._caller.processes.credentials(tid).moved
        owner = self._owner(tid, parent_of(path.rstrip(b"/")))
        if owner is None:
            return CONTINUE
        mask = process.umask(tid)
        copy = copied_socket(tid, descriptor)
        try:
            self._caller.check()
            if not is_moved:
                os.chdir(b"%d/cwd" % tid)
            os.umask(mask)
            copy.bind(path if is_moved else text)
        finally:
            os.umask(0)
            os.fchdir(self._caller.processes.proc)
            copy.close()
        return self._record(path, owner)

    def _record(self, path: bytes, owner: Record, *, is_directory: bool = False) -> Answer:
        try:
            self._caller.inodes.write(path, owner, follow=False)
        except OSError:
            remove(path, is_directory=is_directory)
            raise
        return 0


def _is_dangling(path: bytes) -> bool:
    return os.path.islink(path) and not os.path.exists(path)
