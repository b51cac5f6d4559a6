"""Answers to calls about the owner of an inode that is there: chown, stat, and the list of its attributes."""

from __future__ import annotations

import errno
import os
import stat

from tiffin.builder.sandbox.child.emulation.credentials import CAP_CHOWN, Credentials
from tiffin.builder.sandbox.child.emulation.inodes import Record, real_chown
from tiffin.builder.sandbox.child.emulation.notification import CONTINUE, Answer, Caller, Handler, id_of, signed
from tiffin.builder.sandbox.child.emulation.process import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW
from tiffin.cache.foundation.frozen import replace

_ROOT = Record(0, 0)
_AS_THE_KERNEL_HAS_IT = (0, -1)  # ids that need no record
_Arguments = tuple[int, ...]


class Owners:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._inodes = caller.inodes
        self.handlers: dict[str, Handler] = {
            "chown": lambda tid, a: self._chown(tid, AT_FDCWD, a[0], a[1], a[2], 0),
            "lchown": lambda tid, a: self._chown(tid, AT_FDCWD, a[0], a[1], a[2], AT_SYMLINK_NOFOLLOW),
            "fchownat": lambda tid, a: self._chown(tid, a[0], a[1], a[2], a[3], a[4]),
            "fchown": self._fchown,
            "stat": self._stat,
            "lstat": self._lstat,
            "fstat": self._fstat,
            "newfstatat": self._newfstatat,
            "statx": self._statx,
            "listxattr": lambda tid, a: self._list(tid, a, follow=True),
            "llistxattr": lambda tid, a: self._list(tid, a, follow=False),
            "flistxattr": self._flist,
        }

    # -- chown --------------------------------------------------------------------------------------------------------

    def _chown(self, tid: int, directory: int, address: int, uid: int, gid: int, flags: int) -> Answer:
        if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) & 0xFFFFFFFF:
            return -errno.EINVAL
        path, follow = self._place(tid, directory, address, flags)
        path = self._caller.end(tid, path) if follow else path
        return self._give(tid, path, id_of(uid), id_of(gid), follow=follow)

    def _fchown(self, tid: int, arguments: _Arguments) -> Answer:
        fd, uid, gid, *_ = arguments
        return self._give(tid, b"%d/fd/%d" % (tid, signed(fd)), id_of(uid), id_of(gid), follow=True)

    def _give(self, tid: int, path: bytes, uid: int, gid: int, *, follow: bool) -> Answer:
        credentials = self._caller.processes.credentials(tid)
        record = self._inodes.record(path, follow=follow)
        if record is None:
            if uid in _AS_THE_KERNEL_HAS_IT and gid in _AS_THE_KERNEL_HAS_IT and credentials.can(CAP_CHOWN):
                return CONTINUE
            record = _ROOT
        if uid == gid == -1 and not self._takes_set_id(path, credentials, record, follow=follow):
            pass  # which anybody may
        elif not credentials.can(CAP_CHOWN):
            owns = credentials.fsuid == record.uid
            if not owns or uid not in (-1, record.uid) or not (gid in (-1, record.gid) or credentials.is_in_group(gid)):
                return -errno.EPERM
        self._caller.check()
        held = self._caller.held(path, follow=follow)
        real_chown(held, uid, gid, follow=True)
        new = replace(record, uid=record.uid if uid < 0 else uid, gid=record.gid if gid < 0 else gid)
        self._inodes.write(held, new, follow=True)
        return 0

    def _takes_set_id(self, path: bytes, credentials: Credentials, record: Record, *, follow: bool) -> bool:
        """Whether a chown that changes no owner would still change the mode, which is the owner's to do."""
        mode = os.stat(path, follow_symlinks=follow).st_mode
        return bool(mode & 0o6000) and not stat.S_ISDIR(mode) and credentials.fsuid != record.uid

    # -- stat: whatever goes wrong here the kernel tells better ------------------------------------------------------

    def _stat(self, tid: int, arguments: _Arguments) -> Answer:
        return self._look(tid, AT_FDCWD, arguments[0], 0, arguments[1])

    def _lstat(self, tid: int, arguments: _Arguments) -> Answer:
        return self._look(tid, AT_FDCWD, arguments[0], AT_SYMLINK_NOFOLLOW, arguments[1])

    def _newfstatat(self, tid: int, arguments: _Arguments) -> Answer:
        return self._look(tid, arguments[0], arguments[1], arguments[3], arguments[2])

    def _fstat(self, tid: int, arguments: _Arguments) -> Answer:
        path = b"%d/fd/%d" % (tid, signed(arguments[0]))
        try:
            record = self._inodes.record(path, follow=True)
            if record is None:
                return CONTINUE
            data = self._inodes.stat(path, record, follow=True)
        except OSError:
            return CONTINUE
        self._caller.write(tid, arguments[1], data)
        return 0

    def _look(self, tid: int, directory: int, address: int, flags: int, buffer: int) -> Answer:
        try:
            path, follow = self._place(tid, directory, address, flags)
            record = self._inodes.record(path, follow=follow)
            if record is None:
                return CONTINUE
            data = self._inodes.stat(path, record, follow=follow)
        except OSError:
            return CONTINUE
        self._caller.write(tid, buffer, data)
        return 0

    def _statx(self, tid: int, arguments: _Arguments) -> Answer:
        directory, address, flags, mask, buffer, _ = arguments
        try:
            path, follow = self._place(tid, directory, address, flags)
            record = self._inodes.record(path, follow=follow)
            if record is None:
                return CONTINUE
            kept = flags & 0xFFFFFFFF & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)
            data = self._inodes.statx(path, record, kept, mask & 0xFFFFFFFF, follow=follow)
        except OSError:
            return CONTINUE
        self._caller.write(tid, buffer, data)
        return 0

    def _place(self, tid: int, directory: int, address: int, flags: int) -> tuple[bytes, bool]:
        """Return where a path leads, and whether a link there is followed: what stands for a descriptor always is."""
        follow = not flags & AT_SYMLINK_NOFOLLOW
        if not flags & AT_EMPTY_PATH:
            return self._caller.path(tid, directory, address, follow=follow), follow
        text = self._caller.memory.read_string(tid, address) if address else b""  # NULL from Linux 6.11 on
        path = self._caller.place(tid, directory, text, flags=flags, follow=follow)
        return path, follow or not text

    # -- attributes ---------------------------------------------------------------------------------------------------

    def _list(self, tid: int, arguments: _Arguments, *, follow: bool) -> Answer:
        path = self._caller.path(tid, AT_FDCWD, arguments[0], follow=follow)
        return self._names(tid, self._caller.end(tid, path) if follow else path, arguments, follow)

    def _flist(self, tid: int, arguments: _Arguments) -> Answer:
        return self._names(tid, b"%d/fd/%d" % (tid, signed(arguments[0])), arguments, True)

    def _names(self, tid: int, path: bytes, arguments: _Arguments, follow: bool) -> Answer:
        """Hide our own attributes: programs that copy or pack what they see would carry them on."""
        try:
            names = self._inodes.visible_names(path, follow=follow)
        except OSError:
            return CONTINUE
        if names is None:
            return CONTINUE
        _, buffer, size, *_ = arguments
        if not size:
            return len(names)
        if size < len(names):
            return -errno.ERANGE
        if names:
            self._caller.write(tid, buffer, names)
        return len(names)
