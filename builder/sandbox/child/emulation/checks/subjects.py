"""What checks of calls have in common: whom a call is of, where its path leads, what may be done there.

A check raises EACCES or EPERM where the kernel would, in its order; all else that is wrong with a call is left for the
kernel to tell, which does it afterwards.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from tiffin.builder.sandbox.child.emulation.checks import permissions
from tiffin.builder.sandbox.child.emulation.checks.permissions import SEARCH, WRITE
from tiffin.builder.sandbox.child.emulation.credentials import CAP_FSETID, Credentials
from tiffin.builder.sandbox.child.emulation.notification import CONTINUE, Answer, Caller, signed
from tiffin.builder.sandbox.child.emulation.process import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW
from tiffin.builder.sandbox.child.emulation.walk import Found, Walker, refused

Arguments = tuple[int, ...]
Check = Callable[[int, Credentials, Arguments], Answer]  # CONTINUE: the call may go on; anything else: it is done


def not_permitted() -> OSError:
    return PermissionError(errno.EPERM, os.strerror(errno.EPERM))


class Checks:
    """The base of those of a kind; `checks` has them by system call."""

    checks: dict[str, Check]

    def __init__(self, caller: Caller, walker: Walker) -> None:
        self._caller = caller
        self._walker = walker

    def _look(
        self, tid: int, who: Credentials, directory: int, address: int, *, follow: bool = True, flags: int = 0
    ) -> Found:
        text = self._caller.memory.read_string(tid, address) if address or not flags & AT_EMPTY_PATH else b""
        if not text and flags & AT_EMPTY_PATH and signed(directory) != AT_FDCWD:
            return self._walker.descriptor(tid, directory)
        return self._walker.look(tid, who, directory, text, follow=follow)

    def _entry(self, tid: int, who: Credentials, directory: int, address: int) -> Found:
        """Return the name at the end of a path, which is made or removed."""
        text = self._caller.memory.read_string(tid, address)
        return self._walker.look(tid, who, directory, text, follow=False, is_entry=True)

    def _search(self, tid: int, who: Credentials, directory: int, address: int, flags: int) -> Answer:
        """Return nothing but the way there."""
        if not (flags & AT_EMPTY_PATH and (not address or not self._caller.memory.read(tid, address, 1)[0])):
            self._look(tid, who, directory, address, follow=not flags & AT_SYMLINK_NOFOLLOW)
        return CONTINUE

    def _must(self, who: Credentials, found: Found, want: int) -> None:
        if not self._walker.may(who, found, want):
            raise refused()

    def _must_change(self, who: Credentials, found: Found) -> None:
        """Check that `who` may put names into the directory. Where it is read-only the kernel says that."""
        if not self._walker.may_change(who, found, WRITE | SEARCH):
            raise unless_read_only(found.parent, refused())

    def _facts(self, who: Credentials, found: Found) -> permissions.Facts:
        assert found.st is not None
        return self._walker.facts(who, found.path, found.st, named=bool(found.name))

    def _owns(self, who: Credentials, found: Found) -> bool:
        return permissions.owns(who, self._facts(who, found))

    def _drop_set_id(self, who: Credentials, found: Found) -> None:
        """Drop the set-id bits of a file opened for writing, as writes are not asked about."""
        assert found.st is not None
        mode = found.st.st_mode
        if not mode & (stat.S_ISUID | stat.S_ISGID) or not stat.S_ISREG(mode) or who.can(CAP_FSETID):
            return
        kept = 0
        if mode & 0o2010 == stat.S_ISGID and permissions.keeps_set_group_id(who, self._facts(who, found)):
            kept = stat.S_ISGID
        self._caller.check()
        os.chmod(found.path, stat.S_IMODE(mode) & 0o1777 | kept)


def unless_read_only(path: bytes, error: OSError) -> OSError:
    """Return `error`, but where nobody could change anything: that the kernel tells first."""
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return OSError(errno.EROFS, os.strerror(errno.EROFS))
    return error
