"""Checks of calls that change what is known of an inode, or cut it: fs/attr.c, fs/utimes.c, fs/xattr.c, fs/open.c."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable

from tiffin.builder.sandbox.child.emulation.checks import permissions
from tiffin.builder.sandbox.child.emulation.checks.permissions import READ, WRITE
from tiffin.builder.sandbox.child.emulation.checks.subjects import (
    Arguments,
    Check,
    Checks,
    not_permitted,
    unless_read_only,
)
from tiffin.builder.sandbox.child.emulation.credentials import CAP_SETFCAP, Credentials
from tiffin.builder.sandbox.child.emulation.notification import CONTINUE, Answer, Caller
from tiffin.builder.sandbox.child.emulation.process import AT_FDCWD, AT_SYMLINK_NOFOLLOW
from tiffin.builder.sandbox.child.emulation.walk import Found, Walker, refused

_UTIME_NOW, _UTIME_OMIT = 0x3FFFFFFF, 0x3FFFFFFE
_TIMES = struct.Struct("=4q")  # two of struct timespec
_MODE = 0o7777


class InodeChecks(Checks):
    def __init__(self, caller: Caller, walker: Walker) -> None:
        super().__init__(caller, walker)
        self.checks = {
            "chmod": lambda tid, who, a: self._chmod(who, self._look(tid, who, AT_FDCWD, a[0]), a[1]),
            "fchmodat": lambda tid, who, a: self._chmod(who, self._look(tid, who, a[0], a[1]), a[2]),
            "fchmodat2": lambda tid, who, a: self._chmod(who, self._at(tid, who, a[0], a[1], a[3]), a[2]),
            "fchmod": lambda tid, who, a: self._chmod(who, self._walker.descriptor(tid, a[0]), a[1]),
            "utime": lambda tid, who, a: self._times(who, self._look(tid, who, AT_FDCWD, a[0]), bool(a[1])),
            "utimes": lambda tid, who, a: self._times(who, self._look(tid, who, AT_FDCWD, a[0]), bool(a[1])),
            "futimesat": lambda tid, who, a: self._times(who, self._at(tid, who, a[0], a[1], 0), bool(a[2])),
            "utimensat": self._utimensat,
            "truncate": lambda tid, who, a: self._truncate(tid, who, a[0]),
        }
        for verb, check in (("set", self._set), ("remove", self._set), ("get", self._get)):
            self.checks |= self._of_attributes(verb, check)

    def _of_attributes(self, verb: str, check: Callable[[int, Credentials, Found, int], Answer]) -> dict[str, Check]:
        def by_path(tid: int, who: Credentials, a: Arguments) -> Answer:
            return check(tid, who, self._look(tid, who, AT_FDCWD, a[0]), a[1])

        def of_link(tid: int, who: Credentials, a: Arguments) -> Answer:
            return check(tid, who, self._look(tid, who, AT_FDCWD, a[0], follow=False), a[1])

        def by_descriptor(tid: int, who: Credentials, a: Arguments) -> Answer:
            return check(tid, who, self._walker.descriptor(tid, a[0]), a[1])

        return {f"{verb}xattr": by_path, f"l{verb}xattr": of_link, f"f{verb}xattr": by_descriptor}

    def _at(self, tid: int, who: Credentials, directory: int, address: int, flags: int) -> Found:
        """Return where a call leads that takes a descriptor, too."""
        if not address:
            return self._walker.descriptor(tid, directory)
        return self._look(tid, who, directory, address, follow=not flags & AT_SYMLINK_NOFOLLOW, flags=flags)

    def _chmod(self, who: Credentials, found: Found, mode: int) -> Answer:
        if found.st is None:
            return CONTINUE
        facts = self._facts(who, found)
        if not permissions.owns(who, facts):
            raise unless_read_only(found.path, not_permitted())
        if mode & stat.S_ISGID and not permissions.keeps_set_group_id(who, facts) and not stat.S_ISLNK(facts.mode):
            self._caller.check()
            os.chmod(found.path, mode & _MODE & ~stat.S_ISGID)
            return 0
        return CONTINUE

    # -- times --------------------------------------------------------------------------------------------------------

    def _utimensat(self, tid: int, who: Credentials, arguments: Arguments) -> Answer:
        directory, address, times, flags, *_ = arguments
        is_set = False
        if times:
            _, accessed, _, modified = _TIMES.unpack(self._caller.memory.read(tid, times, _TIMES.size))
            if accessed == modified == _UTIME_OMIT:
                return CONTINUE
            is_set = not accessed == modified == _UTIME_NOW
        return self._times(who, self._at(tid, who, directory, address, flags), is_set)

    def _times(self, who: Credentials, found: Found, is_set: bool) -> Answer:
        """Allow an owner any time, and the present one to whoever may write."""
        if found.st is None or self._owns(who, found):
            return CONTINUE
        if is_set:
            raise unless_read_only(found.path, not_permitted())
        if not self._walker.may(who, found, WRITE):
            raise unless_read_only(found.path, refused())
        return CONTINUE

    # -- content ------------------------------------------------------------------------------------------------------

    def _truncate(self, tid: int, who: Credentials, address: int) -> Answer:
        found = self._look(tid, who, AT_FDCWD, address)
        if found.st is not None and stat.S_ISREG(found.st.st_mode):
            if not self._walker.may(who, found, WRITE):
                raise unless_read_only(found.path, refused())
            self._drop_set_id(who, found)
        return CONTINUE

    # -- extended attributes ------------------------------------------------------------------------------------------

    def _set(self, tid: int, who: Credentials, found: Found, name_at: int) -> Answer:
        name = self._caller.memory.read_string(tid, name_at)
        if found.st is None:
            return CONTINUE
        if name.startswith(b"user."):
            self._check_user_attribute(who, found)
        is_refused = name.startswith(b"system.posix_acl_") and not self._owns(who, found)
        if is_refused or (name == b"security.capability" and not who.can(CAP_SETFCAP)):
            raise unless_read_only(found.path, not_permitted())
        if name == b"system.posix_acl_access":
            self._drop_foreign_group(who, found)
        return CONTINUE

    def _drop_foreign_group(self, who: Credentials, found: Found) -> None:
        """Drop a set-group-ID bit that chmod would not leave, as posix_acl_update_mode does."""
        assert found.st is not None
        mode = found.st.st_mode
        if mode & stat.S_ISGID and not permissions.keeps_set_group_id(who, self._facts(who, found)):
            self._caller.check()
            os.chmod(found.path, stat.S_IMODE(mode) & ~stat.S_ISGID)

    def _check_user_attribute(self, who: Credentials, found: Found) -> None:
        assert found.st is not None
        mode = found.st.st_mode
        if not _takes_user_attributes(mode):
            return
        if stat.S_ISDIR(mode) and mode & stat.S_ISVTX and not self._owns(who, found):
            raise unless_read_only(found.path, not_permitted())
        if not self._walker.may(who, found, WRITE):
            raise unless_read_only(found.path, refused())

    def _get(self, tid: int, who: Credentials, found: Found, name_at: int) -> Answer:
        name = self._caller.memory.read_string(tid, name_at)
        if found.st is not None and name.startswith(b"user.") and _takes_user_attributes(found.st.st_mode):
            self._must(who, found, READ)
        return CONTINUE


def _takes_user_attributes(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
