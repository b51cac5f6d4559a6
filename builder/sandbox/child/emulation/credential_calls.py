"""Answers to calls about the credentials of a process, and what execve does to them."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable

from tiffin.builder import owner_xattrs
from tiffin.builder.sandbox.child.emulation import credentials as rules
from tiffin.builder.sandbox.child.emulation.credentials import Credentials
from tiffin.builder.sandbox.child.emulation.filter import (
    PR_CAP_AMBIENT,
    PR_CAPBSET_DROP,
    PR_GET_KEEPCAPS,
    PR_SET_KEEPCAPS,
    PR_SET_NO_NEW_PRIVS,
)
from tiffin.builder.sandbox.child.emulation.notification import CONTINUE, Answer, Caller, Handler, id_of, signed
from tiffin.builder.sandbox.child.emulation.process import AT_FDCWD, AT_SYMLINK_NOFOLLOW, UCRED, peer_of, unpack_words
from tiffin.cache.foundation.frozen import replace

_MAX_GROUPS = 65536  # NGROUPS_MAX
_CAPABILITY_VERSIONS = (0x20080522, 0x20071026)  # both with two words per set
_AMBIENT_IS_SET, _AMBIENT_RAISE, _AMBIENT_LOWER, _AMBIENT_CLEAR_ALL = 1, 2, 3, 4
_REVISIONS = (0x02000000, 0x03000000)
_Arguments = tuple[int, ...]
_Change = Callable[..., Credentials]


class Identity:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._processes = caller.processes
        of = self._processes.credentials
        self.handlers: dict[str, Handler] = {
            "getuid": lambda tid, _: of(tid).ruid,
            "geteuid": lambda tid, _: of(tid).euid,
            "getgid": lambda tid, _: of(tid).rgid,
            "getegid": lambda tid, _: of(tid).egid,
            "getresuid": lambda tid, a: self._write_ids(tid, a, of(tid).user_ids),
            "getresgid": lambda tid, a: self._write_ids(tid, a, of(tid).group_ids),
            "getgroups": self._getgroups,
            "getsockopt": self._peer,
            "setuid": self._changing(rules.set_user, 1),
            "setgid": self._changing(rules.set_group, 1),
            "setreuid": self._changing(rules.set_real_and_effective_user, 2),
            "setregid": self._changing(rules.set_real_and_effective_group, 2),
            "setresuid": self._changing(rules.set_users, 3),
            "setresgid": self._changing(rules.set_groups_of_ids, 3),
            "setfsuid": self._setfsuid,
            "setfsgid": self._setfsgid,
            "setgroups": self._setgroups,
            "capget": self._capget,
            "capset": self._capset,
            "prctl": self._prctl,
            "execve": lambda tid, a: self._execve(tid, AT_FDCWD, a[0], 0),
            "execveat": lambda tid, a: self._execve(tid, a[0], a[1], a[4]),
            "chroot": self._moved,
            "pivot_root": self._moved,
            "setns": self._moved,
            "unshare": self._moved,
            "clone": self._moved,
        }

    def _set(self, tid: int, old: Credentials, new: Credentials) -> None:
        if new != old:
            self._caller.check()
            self._processes.set_credentials(tid, new)

    # -- ids ----------------------------------------------------------------------------------------------------------

    def _changing(self, change: _Change, count: int) -> Handler:
        def handler(tid: int, arguments: _Arguments) -> Answer:
            old = self._processes.credentials(tid)
            self._set(tid, old, change(old, *map(id_of, arguments[:count])))
            return 0

        return handler

    def _setfsuid(self, tid: int, arguments: _Arguments) -> Answer:
        old = self._processes.credentials(tid)
        self._set(tid, old, rules.set_file_system_user(old, id_of(arguments[0])))
        return old.fsuid

    def _setfsgid(self, tid: int, arguments: _Arguments) -> Answer:
        old = self._processes.credentials(tid)
        self._set(tid, old, rules.set_file_system_group(old, id_of(arguments[0])))
        return old.fsgid

    def _setgroups(self, tid: int, arguments: _Arguments) -> Answer:
        count = arguments[0] & 0xFFFFFFFF
        if count > _MAX_GROUPS:
            return -errno.EINVAL
        old = self._processes.credentials(tid)
        groups = unpack_words(self._caller.memory.read(tid, arguments[1], 4 * count)) if count else ()
        self._set(tid, old, rules.set_supplementary(old, groups))
        return 0

    def _write_ids(self, tid: int, addresses: _Arguments, numbers: tuple[object, ...]) -> Answer:
        for address, number in zip(addresses, numbers, strict=False):
            self._caller.write(tid, address, struct.pack("=I", number))
        return 0

    def _getgroups(self, tid: int, arguments: _Arguments) -> Answer:
        groups = self._processes.credentials(tid).groups
        size = signed(arguments[0])
        if not size:
            return len(groups)
        if size < len(groups):
            return -errno.EINVAL
        if groups:
            self._caller.write(tid, arguments[1], struct.pack(f"={len(groups)}I", *groups))
        return len(groups)

    def _peer(self, tid: int, arguments: _Arguments) -> Answer:
        """Answer SO_PEERCRED, which servers trust more than names: the ids that the process at the other end has
        now.
        """
        fd, _, _, buffer, size_at, _ = arguments
        try:
            number = peer_of(tid, signed(fd))
            pid, peer = self._processes.name(number), self._processes.credentials(number)
        except OSError:
            return CONTINUE
        size = min(unpack_words(self._caller.memory.read(tid, size_at, 4))[0], UCRED.size)
        self._caller.write(tid, buffer, UCRED.pack(pid, peer.euid, peer.egid)[:size])
        self._caller.write(tid, size_at, struct.pack("=I", size))
        return 0

    # -- capabilities -------------------------------------------------------------------------------------------------

    def _capget(self, tid: int, arguments: _Arguments) -> Answer:
        header, data, *_ = arguments
        version, pid = struct.unpack("=Ii", self._caller.memory.read(tid, header, 8))
        if version not in _CAPABILITY_VERSIONS or not data or pid < 0:
            return CONTINUE
        sets = self._processes.named(pid) if pid else self._processes.credentials(tid)
        three = (sets.effective, sets.permitted, sets.inheritable)
        low, high = ([item >> shift & 0xFFFFFFFF for item in three] for shift in (0, 32))
        self._caller.write(tid, data, struct.pack("=6I", *low, *high))
        return 0

    def _capset(self, tid: int, arguments: _Arguments) -> Answer:
        version, _ = struct.unpack("=Ii", self._caller.memory.read(tid, arguments[0], 8))
        if version not in _CAPABILITY_VERSIONS:
            return CONTINUE
        words = struct.unpack("=6I", self._caller.memory.read(tid, arguments[1], 24))
        known = rules.ALL_CAPABILITIES
        effective, permitted, inheritable = ((words[i] | words[i + 3] << 32) & known for i in range(3))
        old = self._processes.credentials(tid)
        self._set(tid, old, rules.set_capabilities(old, effective, permitted, inheritable))
        return 0

    def _prctl(self, tid: int, arguments: _Arguments) -> Answer:
        option, value, capability = arguments[0] & 0xFFFFFFFF, arguments[1], arguments[2]
        old = self._processes.credentials(tid)
        if option == PR_GET_KEEPCAPS:
            return int(old.keep_capabilities)
        if option == PR_SET_KEEPCAPS:
            self._set(tid, old, replace(old, keep_capabilities=bool(value)))
            return 0
        if option == PR_SET_NO_NEW_PRIVS:
            self._set(tid, old, replace(old, no_new_privs=old.no_new_privs or value == 1))
            return CONTINUE
        if option == PR_CAPBSET_DROP:
            if not old.can(rules.CAP_SETPCAP):
                return -errno.EPERM
            if value < 64:
                self._set(tid, old, replace(old, bounding=old.bounding & ~(1 << value)))
            return CONTINUE
        if option == PR_CAP_AMBIENT:
            return self._ambient(tid, old, value, capability)
        return CONTINUE

    def _ambient(self, tid: int, old: Credentials, operation: int, capability: int) -> Answer:
        if operation == _AMBIENT_CLEAR_ALL:
            self._set(tid, old, replace(old, ambient=0))
            return 0
        if capability >= rules.ALL_CAPABILITIES.bit_length():
            return -errno.EINVAL
        bit = 1 << capability
        if operation == _AMBIENT_IS_SET:
            return int(bool(old.ambient & bit))
        if operation == _AMBIENT_LOWER:
            self._set(tid, old, replace(old, ambient=old.ambient & ~bit))
            return 0
        if operation != _AMBIENT_RAISE:
            return -errno.EINVAL
        if not old.permitted & old.inheritable & bit:
            return -errno.EPERM
        self._set(tid, old, replace(old, ambient=old.ambient | bit))
        return 0

    # -- execve, chroot -----------------------------------------------------------------------------------------------

    def _execve(self, tid: int, directory: int, address: int, flags: int) -> Answer:
        """Leave execution to the kernel; compute here what becomes of ids and capabilities."""
        follow = not flags & AT_SYMLINK_NOFOLLOW
        try:
            path = self._caller.path(tid, directory, address, flags=flags, follow=follow)
            path = self._caller.end(tid, path) if follow else path
            found = os.stat(path)
        except OSError:
            return CONTINUE
        if not stat.S_ISREG(found.st_mode) or not found.st_mode & 0o111:
            return CONTINUE
        old = self._processes.credentials(tid)
        owner = group = file_capabilities = None
        if not old.no_new_privs and (found.st_mode & 0o6000 or old.ruid or old.euid):
            owner, group, file_capabilities = self._privileges(path, found)
        self._set(tid, old, rules.executed(old, owner, group, file_capabilities))
        return CONTINUE

    def _privileges(
        self, path: bytes, found: os.stat_result
    ) -> tuple[int | None, int | None, tuple[int, int, bool] | None]:
        """Return what set-id bits and capabilities of an executable give: nothing to what is not a program, or where
        mounts say so.
        """
        mode, capabilities = found.st_mode, _file_capabilities(path)
        if found.st_uid or found.st_gid:  # somebody's whom this namespace does not know, as in a volume
            return None, None, None
        if not (mode & 0o6000 or capabilities) or os.statvfs(path).f_flag & os.ST_NOSUID or not _is_program(path):
            return None, None, None
        record = self._caller.inodes.record(path, follow=True)
        uid, gid = (record.uid, record.gid) if record else (0, 0)
        sets_group = mode & (stat.S_ISGID | stat.S_IXGRP) == stat.S_ISGID | stat.S_IXGRP
        return uid if mode & stat.S_ISUID else None, gid if sets_group else None, capabilities

    def _moved(self, tid: int, _: _Arguments) -> Answer:
        """Note another root, or namespaces that may have one: from now on paths are looked up inside it."""
        self._caller.note_moved()
        old = self._processes.credentials(tid)
        self._set(tid, old, replace(old, moved=True))
        return CONTINUE


def _file_capabilities(path: bytes) -> tuple[int, int, bool] | None:
    try:
        value = os.getxattr(path, owner_xattrs.CAPABILITY)
    except OSError:
        return None
    if len(value) < 20 or int.from_bytes(value[:4], "little") & 0xFF000000 not in _REVISIONS:
        return None
    magic, permitted, inheritable, permitted_high, inheritable_high = struct.unpack_from("<5I", value)
    return permitted | permitted_high << 32, inheritable | inheritable_high << 32, bool(magic & 1)


def _is_program(path: bytes) -> bool:
    """Whether the kernel executes it by itself: a script, or what fails to be executed, gives nobody anything."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(fd, 4) == b"\x7fELF"
    finally:
        os.close(fd)
