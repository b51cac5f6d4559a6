"""Checks of calls that make, remove, rename and link names: may_create, may_delete and may_linkat of fs/namei.c."""

from __future__ import annotations

import os
import stat

from tiffin.builder.sandbox.child.emulation.checks import permissions
from tiffin.builder.sandbox.child.emulation.checks.permissions import WRITE
from tiffin.builder.sandbox.child.emulation.checks.subjects import Checks, not_permitted, unless_read_only
from tiffin.builder.sandbox.child.emulation.credentials import Credentials
from tiffin.builder.sandbox.child.emulation.notification import CONTINUE, Answer, Caller
from tiffin.builder.sandbox.child.emulation.process import AT_FDCWD, AT_SYMLINK_FOLLOW
from tiffin.builder.sandbox.child.emulation.walk import Found, Walker, protection

_AT_REMOVEDIR = 0x200
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2


class NameChecks(Checks):
    def __init__(self, caller: Caller, walker: Walker) -> None:
        super().__init__(caller, walker)
        self._protects_hard_links = protection("hardlinks")
        self.checks = {
            "mkdir": lambda tid, who, a: self._make(tid, who, AT_FDCWD, a[0], is_directory=True),
            "mkdirat": lambda tid, who, a: self._make(tid, who, a[0], a[1], is_directory=True),
            "mknod": lambda tid, who, a: self._make(tid, who, AT_FDCWD, a[0]),
            "mknodat": lambda tid, who, a: self._make(tid, who, a[0], a[1]),
            "symlink": lambda tid, who, a: self._make(tid, who, AT_FDCWD, a[1]),
            "symlinkat": lambda tid, who, a: self._make(tid, who, a[1], a[2]),
            "unlink": lambda tid, who, a: self._remove(tid, who, AT_FDCWD, a[0], is_directory=False),
            "rmdir": lambda tid, who, a: self._remove(tid, who, AT_FDCWD, a[0], is_directory=True),
            "unlinkat": lambda tid, who, a: self._remove(tid, who, a[0], a[1], is_directory=bool(a[2] & _AT_REMOVEDIR)),
            "rename": lambda tid, who, a: self._rename(tid, who, (AT_FDCWD, a[0]), (AT_FDCWD, a[1]), 0),
            "renameat": lambda tid, who, a: self._rename(tid, who, (a[0], a[1]), (a[2], a[3]), 0),
            "renameat2": lambda tid, who, a: self._rename(tid, who, (a[0], a[1]), (a[2], a[3]), a[4]),
            "link": lambda tid, who, a: self._link(tid, who, (AT_FDCWD, a[0]), (AT_FDCWD, a[1]), 0),
            "linkat": lambda tid, who, a: self._link(tid, who, (a[0], a[1]), (a[2], a[3]), a[4]),
        }

    def _make(self, tid: int, who: Credentials, directory: int, address: int, *, is_directory: bool = False) -> Answer:
        found = self._entry(tid, who, directory, address)
        if found.st is None and (is_directory or not found.is_slashed):
            self._must_change(who, found)
        return CONTINUE

    def _remove(self, tid: int, who: Credentials, directory: int, address: int, *, is_directory: bool) -> Answer:
        found = self._entry(tid, who, directory, address)
        if found.st is not None and found.name and (is_directory or not found.is_slashed):
            self._check_removal(who, found)
        return CONTINUE

    def _check_removal(self, who: Credentials, found: Found) -> None:
        """Apply the kernel's may_delete."""
        self._must_change(who, found)
        if found.directory.st_mode & stat.S_ISVTX:
            directory = self._walker.facts(who, found.parent, found.directory)
            if permissions.is_kept_by_sticky(who, directory, self._facts(who, found)):
                raise unless_read_only(found.parent, not_permitted())

    def _rename(self, tid: int, who: Credentials, old: tuple[int, int], new: tuple[int, int], flags: int) -> Answer:
        source = self._entry(tid, who, *old)
        target = self._entry(tid, who, *new)
        if source.st is None or not source.name or not target.name:
            return CONTINUE
        if (source.is_slashed or target.is_slashed) and not stat.S_ISDIR(source.st.st_mode):
            return CONTINUE
        if target.st is not None:
            if flags & _RENAME_NOREPLACE or _is_same(source.st, target.st):
                return CONTINUE
        elif flags & _RENAME_EXCHANGE:
            return CONTINUE
        if _is_below(target, source) or _is_below(source, target):
            return CONTINUE  # EINVAL, ENOTEMPTY
        self._check_removal(who, source)
        if target.st is None:
            self._must_change(who, target)
        else:
            self._check_removal(who, target)
            is_mixed = stat.S_ISDIR(source.st.st_mode) != stat.S_ISDIR(target.st.st_mode)
            if is_mixed and not flags & _RENAME_EXCHANGE:
                return CONTINUE  # ENOTDIR, EISDIR
        if not _is_same(source.directory, target.directory):  # ".." of what moves is written
            moving = [source, target] if flags & _RENAME_EXCHANGE else [source]
            for found in moving:
                if found.st is not None and stat.S_ISDIR(found.st.st_mode):
                    self._must(who, found, WRITE)
        return CONTINUE

    def _link(self, tid: int, who: Credentials, old: tuple[int, int], new: tuple[int, int], flags: int) -> Answer:
        source = self._look(tid, who, *old, follow=bool(flags & AT_SYMLINK_FOLLOW), flags=flags)
        if source.st is None:
            return CONTINUE
        target = self._entry(tid, who, *new)
        if target.st is not None or target.is_slashed or source.st.st_dev != target.directory.st_dev:
            return CONTINUE
        if self._protects_hard_links and not permissions.is_safe_to_link(who, self._facts(who, source)):
            raise unless_read_only(target.parent, not_permitted())
        self._must_change(who, target)
        return CONTINUE


def _is_same(first: os.stat_result, second: os.stat_result) -> bool:
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def _is_below(first: Found, second: Found) -> bool:
    """Whether one lies in the other, so that neither can take the other's place."""
    if second.st is None or not stat.S_ISDIR(second.st.st_mode):
        return False
    outer = second.place.rstrip(b"/") + b"/" + second.name + b"/"
    return (first.place + b"/").startswith(outer)
