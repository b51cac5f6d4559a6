"""Follow a path as a process with its emulated credentials would, refusing where the kernel would: fs/namei.c.

Nothing is opened but with O_PATH, nothing is changed, and whatever else is wrong with a path is left for the kernel to
tell.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from time import monotonic

from tiffin.builder.sandbox.child.emulation.checks.permissions import SEARCH, Facts, is_for_everybody, may
from tiffin.builder.sandbox.child.emulation.credentials import CAP_SYS_PTRACE, Credentials
from tiffin.builder.sandbox.child.emulation.inodes import Record, device_mode
from tiffin.builder.sandbox.child.emulation.notification import Caller, signed
from tiffin.builder.sandbox.child.emulation.process import AT_FDCWD

_MAX_LINKS = 40  # the kernel's MAXSYMLINKS
_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_HOLD = os.O_PATH | os.O_CLOEXEC
_PROC_ROOT_INODE = 1
_PROC = b"/proc/"
_PSEUDO_TERMINALS = range(136, 144)  # Unix98 slaves, devices.txt
_SHORTCUT_SECONDS, _MAX_SHORTCUTS = 0.05, 1 << 12
_BY_DESCRIPTOR = b"self/fd/"
_ACL = "system.posix_acl_access"


def refused() -> OSError:
    return PermissionError(errno.EACCES, os.strerror(errno.EACCES))


class Found:
    """Where a path ended: an inode, or the name of one that is missing in a directory.

    `name` is empty if the path ends otherwise than with a name: "/", ".", "..", or a link of /proc.
    """

    __slots__ = ("directory", "is_slashed", "name", "parent", "st")

    def __init__(
        self, parent: bytes, directory: os.stat_result, name: bytes, st: os.stat_result | None, is_slashed: bool = False
    ) -> None:
        self.parent = parent  # the directory as a path for the supervisor, or the inode itself if it has no name
        self.directory = directory
        self.name = name
        self.st = st
        self.is_slashed = is_slashed  # a slash follows the name

    @property
    def path(self) -> bytes:
        """The inode, as a path for the supervisor, which does not follow its last name."""
        return b"%b/%b" % (self.parent, self.name) if self.name else self.parent

    @property
    def place(self) -> bytes:
        """Where the directory is, in words."""
        return os.readlink(self.parent) if self.parent.startswith(_BY_DESCRIPTOR) else self.parent


class Walker:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        reader, writer = os.pipe2(os.O_CLOEXEC)
        self._pipes = os.fstat(reader).st_dev
        os.close(reader)
        os.close(writer)
        self._protects_links = protection("symlinks")
        self._shortcuts = Shortcuts(self, caller)
        self.forget = self._shortcuts.forget

    # -- the way ------------------------------------------------------------------------------------------------------

    def look(
        self, tid: int, who: Credentials, directory: int, path: bytes, *, follow: bool, is_entry: bool = False
    ) -> Found:
        """Return where `path` leads; EACCES where a directory on the way is closed to `who`, other errors as they come.

        `is_entry`: the name itself is meant, whatever it is, also with a slash behind it.
        """
        if not path:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        short = self._shortcuts.find(tid, who, directory, path, follow=follow)
        if short is not None:
            return short
        return self.walk(tid, who, directory, path, follow=follow, is_entry=is_entry)

    def walk(
        self, tid: int, who: Credentials, directory: int, path: bytes, *, follow: bool, is_entry: bool = False
    ) -> Found:
        """Return the same, step by step."""
        if path[:1] == b"/":
            start = b"%d/root" % tid
        else:
            number = signed(directory)
            start = b"%d/cwd" % tid if number == AT_FDCWD else b"%d/fd/%d" % (tid, number)
        way = _Way(self, tid, who, start, path)
        try:
            return way.end(follow=follow, is_entry=is_entry)
        finally:
            self._caller.keep(way.here)

    def descriptor(self, tid: int, number: int) -> Found:
        """Return what a descriptor of the process is."""
        fd = os.open(b"%d/fd/%d" % (tid, signed(number)), _HOLD)
        self._caller.keep(fd)
        st = os.fstat(fd)
        return Found(_through(fd), st, b"", st)

    # -- permissions --------------------------------------------------------------------------------------------------

    def may(self, who: Credentials, found: Found, want: int) -> bool:
        """Whether `who` may read, write or execute the inode, which is there."""
        assert found.st is not None
        return self.allows(who, found.path, found.st, want, named=bool(found.name))

    def may_change(self, who: Credentials, found: Found, want: int) -> bool:
        """Return the same of the directory that has the name."""
        return self.allows(who, found.parent, found.directory, want)

    def allows(self, who: Credentials, path: bytes, st: os.stat_result, want: int, *, named: bool = False) -> bool:
        """Return the same of `path`; `named`: it ends with a name, which may be one of a symlink."""
        if is_for_everybody(st.st_mode, want) and not self._caller.inodes.has_list(path, follow=not named):
            return True
        return may(who, self.facts(who, path, st, named=named), want)

    def facts(self, who: Credentials, path: bytes, st: os.stat_result, *, named: bool = False) -> Facts:
        record = self._caller.inodes.record(path, follow=not named)
        mode = st.st_mode
        if record is not None:
            if record.device is not None:
                mode = device_mode(record.device, mode)
        else:
            record = self._owner_by_kernel(who, path, st, named=named)
        acl = b""
        if mode & 0o070 and not stat.S_ISLNK(mode):
            with contextlib.suppress(OSError):
                acl = os.getxattr(path, _ACL)
        return Facts(mode, record.uid, record.gid, acl)

    def _owner_by_kernel(self, who: Credentials, path: bytes, st: os.stat_result, *, named: bool) -> Record:
        """Return the owner where there is no record: root, but for what processes make without being asked about."""
        if self._is_of_proc(st):
            pid = _process_of(path, named=named)
            if pid:
                with contextlib.suppress(OSError):
                    of = self._caller.processes.named(pid)
                    return Record(of.euid, of.egid)
        elif st.st_dev == self._pipes or (stat.S_ISCHR(st.st_mode) and os.major(st.st_rdev) in _PSEUDO_TERMINALS):
            return Record(who.fsuid, who.fsgid)
        return Record(st.st_uid, st.st_gid)

    def is_magic(self, st: os.stat_result, directory: os.stat_result) -> bool:
        """Whether a link of /proc leads to an inode, whatever it says."""
        return self._is_of_proc(st) and not self.is_root_of_proc(directory)

    def is_root_of_proc(self, directory: os.stat_result) -> bool:
        return self._is_of_proc(directory) and directory.st_ino == _PROC_ROOT_INODE

    def _is_of_proc(self, st: os.stat_result) -> bool:
        return st.st_dev == self._caller.processes.shown_device

    def name(self, tid: int) -> int:
        """Return what the process calls itself."""
        return self._caller.processes.name(tid)

    def check_trace(self, who: Credentials, directory: bytes) -> None:
        """Open links in /proc of a process to whoever may trace it."""
        pid = _process_of(directory, named=False)
        if pid and not who.can(CAP_SYS_PTRACE):
            of = self._caller.processes.named(pid)
            if {of.ruid, of.euid, of.suid} != {who.fsuid} or {of.rgid, of.egid, of.sgid} != {who.fsgid}:
                raise refused()

    def check_link(self, who: Credentials, found: Found) -> None:
        """Apply fs.protected_symlinks: in a directory like /tmp a link is followed by its owner, or if it is the
        directory's.
        """
        if not self._protects_links or found.directory.st_mode & 0o1002 != 0o1002:
            return
        assert found.st is not None
        link = self.facts(who, found.path, found.st, named=True)
        directory = self.facts(who, found.parent, found.directory)
        if link.uid not in (who.fsuid, directory.uid):
            raise refused()


class Shortcuts:
    """Directories that somebody was found to reach, by their paths; for a moment, and until something is changed.

    Most paths lead to a few directories. A change that is under way while it is forgotten is seen a moment later.
    """

    def __init__(self, walker: Walker, caller: Caller) -> None:
        self._walker = walker
        self._caller = caller
        self._known: dict[tuple[int, bytes], tuple[bytes, os.stat_result]] = {}
        self._until = 0.0

    def forget(self) -> None:
        self._known.clear()

    def find(self, tid: int, who: Credentials, directory: int, path: bytes, *, follow: bool) -> Found | None:
        """Return where a path leads whose directory is known and whose name is not a link to be followed."""
        if who.moved or not self._caller.processes.keeps(who):  # others do not live as long as this
            return None
        before, slash, name = path.rpartition(b"/")
        if name in (b"", b".", b".."):
            return None
        if path[:1] == b"/":
            place = before or slash
        else:
            number = signed(directory)
            base = os.readlink(b"%d/cwd" % tid if number == AT_FDCWD else b"%d/fd/%d" % (tid, number))
            place = b"%b/%b" % (base, before) if before else base
        try:
            known = self._reached(tid, who, place)
        except OSError:  # the long way tells which, and whether it matters
            return None
        if known is None:
            return None
        parent, st = known
        try:
            below = os.lstat(parent + b"/" + name)
        except FileNotFoundError:
            return Found(parent, st, name, None)
        return None if follow and stat.S_ISLNK(below.st_mode) else Found(parent, st, name, below)

    def _reached(self, tid: int, who: Credentials, place: bytes) -> tuple[bytes, os.stat_result] | None:
        now = monotonic()
        if now > self._until or len(self._known) > _MAX_SHORTCUTS:
            self._known.clear()
            self._until = now + _SHORTCUT_SECONDS
        known = self._known.get((id(who), place))
        if known is None and place[:1] == b"/" and not place.startswith(b"/proc"):
            found = self._walker.walk(tid, who, AT_FDCWD, place + b"/.", follow=True)
            real = found.place
            if found.st is not None and real[:1] == b"/" and not real.startswith(b"/proc"):
                known = self._known[id(who), place] = real, found.st
        return known


class _Way:
    """A path being followed: a directory, and the names that are still to come."""

    def __init__(self, walker: Walker, tid: int, who: Credentials, start: bytes, path: bytes) -> None:
        self._walker, self._tid, self._who = walker, tid, who
        self._names = [name for name in path.split(b"/") if name]
        self._names.reverse()
        self._is_slashed = path.endswith(b"/")
        self._links = 0
        self.here = os.open(start, _HOLD)  # the caller closes what it is at the end
        self._st = os.fstat(self.here)

    def end(self, *, follow: bool, is_entry: bool) -> Found:
        names, who, walker = self._names, self._who, self._walker
        while names:
            name = names.pop()
            here, st = self.here, self._st
            if not stat.S_ISDIR(st.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if not walker.allows(who, _through(here), st, SEARCH):
                raise refused()
            if name == b".":
                continue
            if name == b"..":
                self._ascend()
                continue
            try:
                below = os.stat(name, dir_fd=here, follow_symlinks=False)
            except FileNotFoundError:
                if names:
                    raise
                return Found(_through(here), st, name, None, self._is_slashed)
            if stat.S_ISLNK(below.st_mode) and (names or follow or (self._is_slashed and not is_entry)):
                self._follow(Found(_through(here), st, name, below))
            elif names:
                self._move(os.open(name, _STEP, dir_fd=here), below)
            else:
                if self._is_slashed and not is_entry and not stat.S_ISDIR(below.st_mode):
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
                return Found(_through(here), st, name, below, self._is_slashed)
        return Found(_through(self.here), self._st, b"", self._st)

    def _move(self, fd: int, st: os.stat_result | None = None) -> None:
        os.close(self.here)
        self.here = fd
        self._st = st or os.fstat(fd)

    def _ascend(self) -> None:
        root = os.stat(b"%d/root" % self._tid)
        if (root.st_dev, root.st_ino) != (self._st.st_dev, self._st.st_ino):
            self._move(os.open("..", _STEP, dir_fd=self.here))

    def _follow(self, link: Found) -> None:
        self._links += 1
        if self._links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        assert link.st is not None
        if self._walker.is_magic(link.st, link.directory):
            self._walker.check_trace(self._who, link.parent)
            self._move(os.open(link.name, _HOLD, dir_fd=self.here))
            return
        if not self._names:
            self._walker.check_link(self._who, link)
        target = self._target(link)
        if target[:1] == b"/":
            self._move(os.open(b"%d/root" % self._tid, _HOLD))
        if not self._names and target.endswith(b"/"):
            self._is_slashed = True
        self._names += reversed([name for name in target.split(b"/") if name])

    def _target(self, link: Found) -> bytes:
        is_own = link.name in (b"self", b"thread-self")
        if is_own and self._walker.is_root_of_proc(link.directory):  # the process's, not ours
            return b"%d" % self._walker.name(self._tid)
        return os.readlink(link.name, dir_fd=self.here)


def _through(fd: int) -> bytes:
    return b"self/fd/%d" % fd


def _process_of(path: bytes, *, named: bool) -> int:
    """Return the process whose part of /proc that is; 0 for any other."""
    place = os.readlink(path.rpartition(b"/")[0] if named else path)
    first = place[len(_PROC) :].partition(b"/")[0]
    return int(first) if place.startswith(_PROC) and first.isdigit() else 0


def protection(kind: str) -> int:
    """Return what the machine's fs.protected_symlinks, hardlinks, regular or fifos says."""
    try:
        with open(f"/proc/sys/fs/protected_{kind}", encoding="utf-8") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0
