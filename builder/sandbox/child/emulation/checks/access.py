"""Checks of calls that open, execute, enter, ask or signal: fs/namei.c, fs/open.c, fs/exec.c, kernel/signal.c."""

from __future__ import annotations

import errno
import os
import stat
import struct

from tiffin.builder.sandbox.child.emulation.checks import permissions
from tiffin.builder.sandbox.child.emulation.checks.permissions import READ, SEARCH, WRITE
from tiffin.builder.sandbox.child.emulation.checks.subjects import Arguments, Checks, not_permitted, unless_read_only
from tiffin.builder.sandbox.child.emulation.credentials import CAP_SYS_CHROOT, Credentials
from tiffin.builder.sandbox.child.emulation.filter import CREATING, TMPFILE, is_invalid
from tiffin.builder.sandbox.child.emulation.notification import CONTINUE, Answer, Caller, signed
from tiffin.builder.sandbox.child.emulation.process import AT_FDCWD, AT_SYMLINK_NOFOLLOW
from tiffin.builder.sandbox.child.emulation.walk import Found, Walker, protection, refused
from tiffin.cache.foundation.frozen import replace

_CREAT_FLAGS = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
_OPEN_HOW_BYTES, _RESOLVE_IN_ROOT = 24, 0x10
_AT_EACCESS = 0x200
_WANTED = {os.O_RDONLY: READ, os.O_WRONLY: WRITE, os.O_RDWR: READ | WRITE, os.O_ACCMODE: READ | WRITE}


class AccessChecks(Checks):
    def __init__(self, caller: Caller, walker: Walker) -> None:
        super().__init__(caller, walker)
        self._protected = {kind: protection(kind) for kind in ("regular", "fifos")}
        self.checks = {
            "open": lambda tid, who, a: self._open(tid, who, AT_FDCWD, a[0], signed(a[1])),
            "openat": lambda tid, who, a: self._open(tid, who, a[0], a[1], signed(a[2])),
            "creat": lambda tid, who, a: self._open(tid, who, AT_FDCWD, a[0], _CREAT_FLAGS),
            "openat2": self._openat2,
            "execve": lambda tid, who, a: self._execute(tid, who, AT_FDCWD, a[0], 0),
            "execveat": lambda tid, who, a: self._execute(tid, who, a[0], a[1], a[4]),
            "chdir": lambda tid, who, a: self._enter(who, self._look(tid, who, AT_FDCWD, a[0])),
            "fchdir": lambda tid, who, a: self._enter(who, self._walker.descriptor(tid, a[0])),
            "chroot": self._chroot,
            "access": lambda tid, who, a: self._access(tid, who, AT_FDCWD, a[0], a[1], 0),
            "faccessat": lambda tid, who, a: self._access(tid, who, a[0], a[1], a[2], 0),
            "faccessat2": lambda tid, who, a: self._access(tid, who, a[0], a[1], a[2], a[3]),
            "stat": lambda tid, who, a: self._search(tid, who, AT_FDCWD, a[0], 0),
            "lstat": lambda tid, who, a: self._search(tid, who, AT_FDCWD, a[0], AT_SYMLINK_NOFOLLOW),
            "newfstatat": lambda tid, who, a: self._search(tid, who, a[0], a[1], a[3]),
            "statx": lambda tid, who, a: self._search(tid, who, a[0], a[1], a[2]),
            "chown": lambda tid, who, a: self._search(tid, who, AT_FDCWD, a[0], 0),
            "lchown": lambda tid, who, a: self._search(tid, who, AT_FDCWD, a[0], AT_SYMLINK_NOFOLLOW),
            "fchownat": lambda tid, who, a: self._search(tid, who, a[0], a[1], a[4]),
            "kill": self._signal,
            "tkill": self._signal,
            "tgkill": lambda tid, who, a: self._signal(tid, who, a[1:]),
        }

    # -- open ---------------------------------------------------------------------------------------------------------

    def _open(self, tid: int, who: Credentials, directory: int, address: int, flags: int) -> Answer:
        if flags & CREATING and is_invalid(flags):
            return CONTINUE
        is_new = flags & os.O_CREAT
        follow = not (flags & os.O_NOFOLLOW or (is_new and flags & os.O_EXCL))
        found = self._look(tid, who, directory, address, follow=follow)
        if flags & os.O_PATH:
            return CONTINUE
        if flags & TMPFILE == TMPFILE:
            is_directory = found.st is not None and stat.S_ISDIR(found.st.st_mode)
            if is_directory and not self._walker.may(who, found, WRITE | SEARCH):
                raise unless_read_only(found.path, refused())
            return CONTINUE
        if found.st is None:
            if is_new and not found.is_slashed:
                self._must_change(who, found)
            return CONTINUE
        return CONTINUE if is_new and flags & os.O_EXCL else self._open_existing(who, found, flags)

    def _open_existing(self, who: Credentials, found: Found, flags: int) -> Answer:
        assert found.st is not None
        mode = found.st.st_mode
        want = _WANTED[flags & os.O_ACCMODE] | (WRITE if flags & os.O_TRUNC else 0)
        if stat.S_ISLNK(mode) or (stat.S_ISDIR(mode) and (want & WRITE or flags & os.O_CREAT)):
            return CONTINUE  # ELOOP, EISDIR
        if flags & os.O_DIRECTORY and not stat.S_ISDIR(mode):
            return CONTINUE
        if flags & os.O_CREAT and found.is_slashed:
            return CONTINUE
        if flags & os.O_CREAT:
            self._check_sticky_creation(who, found)
        if not self._walker.may(who, found, want):
            error = refused()
            raise unless_read_only(found.path, error) if flags & os.O_TRUNC else error
        if flags & os.O_NOATIME and not self._owns(who, found):
            raise not_permitted()
        if want & WRITE:
            self._drop_set_id(who, found)
        return CONTINUE

    def _check_sticky_creation(self, who: Credentials, found: Found) -> None:
        """Apply fs.protected_regular and fs.protected_fifos: the kernel's may_create_in_sticky."""
        assert found.st is not None
        kind = {stat.S_IFREG: "regular", stat.S_IFIFO: "fifos"}.get(stat.S_IFMT(found.st.st_mode), "")
        level, mode = self._protected.get(kind, 1), found.directory.st_mode  # sockets and devices always
        if not level or not found.name or not mode & stat.S_ISVTX:
            return
        owner = self._facts(who, found).uid
        if owner in (who.fsuid, self._walker.facts(who, found.parent, found.directory).uid):
            return
        if mode & 0o002 or (mode & 0o020 and level >= 2):
            raise refused()

    def _openat2(self, tid: int, who: Credentials, arguments: Arguments) -> Answer:
        """Leave other ways to resolve a path to the kernel, which refuses no more than it does root."""
        directory, address, how, size, *_ = arguments
        if size < _OPEN_HOW_BYTES:
            return CONTINUE
        flags, _, resolve = struct.unpack("=QQQ", self._caller.memory.read(tid, how, _OPEN_HOW_BYTES))
        return CONTINUE if resolve & _RESOLVE_IN_ROOT else self._open(tid, who, directory, address, flags)

    # -- execute, enter, ask -----------------------------------------------------------------------------------------

    def _execute(self, tid: int, who: Credentials, directory: int, address: int, flags: int) -> Answer:
        follow = not flags & AT_SYMLINK_NOFOLLOW
        found = self._look(tid, who, directory, address, follow=follow, flags=flags)
        if found.st is not None and stat.S_ISREG(found.st.st_mode):
            self._must(who, found, SEARCH)
        return CONTINUE

    def _enter(self, who: Credentials, found: Found) -> Answer:
        if found.st is not None and stat.S_ISDIR(found.st.st_mode):
            self._must(who, found, SEARCH)
        return CONTINUE

    def _chroot(self, tid: int, who: Credentials, arguments: Arguments) -> Answer:
        """Refuse with the reason, so that nobody takes a refused caller for one who was allowed."""
        try:
            found = self._look(tid, who, AT_FDCWD, arguments[0])
            self._enter(who, found)
        except OSError as exc:
            return -(exc.errno or errno.EIO)
        if found.st is None or not stat.S_ISDIR(found.st.st_mode):
            return -errno.ENOENT if found.st is None else -errno.ENOTDIR
        return CONTINUE if who.can(CAP_SYS_CHROOT) else -errno.EPERM

    def _access(self, tid: int, who: Credentials, directory: int, address: int, mode: int, flags: int) -> Answer:
        """Check with the real ids, unless the effective ones are asked for, all the way."""
        allowed = who.permitted if who.ruid == 0 else 0
        if not flags & _AT_EACCESS and (who.ruid, who.rgid, allowed) != (who.fsuid, who.fsgid, who.effective):
            who = replace(who, fsuid=who.ruid, fsgid=who.rgid, effective=allowed)
        follow = not flags & AT_SYMLINK_NOFOLLOW
        found = self._look(tid, who, directory, address, follow=follow, flags=flags)
        want = mode & 7
        if found.st is not None and want and not self._walker.may(who, found, want):
            raise refused()
        return CONTINUE

    # -- processes ----------------------------------------------------------------------------------------------------

    def _signal(self, tid: int, who: Credentials, arguments: Arguments) -> Answer:
        """Return one process; of several the kernel would pick out those that may be had."""
        pid = signed(arguments[0])
        if pid > 0 and not permissions.may_signal(who, self._caller.processes.named(pid)):
            raise not_permitted()
        return CONTINUE
