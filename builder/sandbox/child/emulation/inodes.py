"""Owners and devices recorded on inodes (tiffin.builder.owner_xattrs), and the results of the stat calls made of them.

Where a file system takes no attributes, a table of this run serves: it is forgotten with the run. Paths are the
supervisor's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from collections.abc import Sequence

from tiffin.builder import owner_xattrs
from tiffin.builder.sandbox.child import kernel, syscalls
from tiffin.builder.sandbox.child.emulation.process import AT_FDCWD, AT_SYMLINK_NOFOLLOW
from tiffin.cache.foundation import c_types
from tiffin.cache.foundation.frozen import dataclass

_LIST_BYTES = 4096
_VALUE_BYTES = 64
MAX_UNATTRIBUTED = 1 << 16  # records in memory; pipes need them, too, and there is no end to pipes
_OWNER, _DEVICE = owner_xattrs.OWNER.encode(), owner_xattrs.DEVICE.encode()
_OWN_PREFIX, _CAPABILITY = owner_xattrs.OWN_PREFIX.encode(), owner_xattrs.CAPABILITY.encode()
_ACCESS_LIST, _DEFAULT_LIST = b"system.posix_acl_access", b"system.posix_acl_default"
_STAT_BYTES, _STATX_BYTES = 256, 256
# struct stat: where st_mode, st_uid (st_gid follows) and st_rdev are, and its size
_STAT_LAYOUTS = {"x86_64": (24, 28, 40, 144), "aarch64": (16, 24, 32, 128)}
_STATX_UID, _STATX_MODE, _STATX_RDEV = 20, 28, 128  # struct statx; stx_gid follows the uid
_STATX_DEVICE, _STATX_INODE, _STATX_BORN = 136, 32, 80
_STATX_BASIC_AND_BORN = 0xFFF
_STATX_MOUNT, _STATX_MOUNT_ID = 0x1000, 144
_NO_ATTRIBUTES = (errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.ENOSYS)

_LIST = {True: kernel.LIBC["listxattr"], False: kernel.LIBC["llistxattr"]}
_GET = {True: kernel.LIBC["getxattr"], False: kernel.LIBC["lgetxattr"]}
for _function in _LIST.values():
    _function.restype = c_types.c_ssize_t
    _function.argtypes = (c_types.c_char_p, c_types.c_void_p, c_types.c_size_t)
for _function in _GET.values():
    _function.restype = c_types.c_ssize_t
    _function.argtypes = (c_types.c_char_p, c_types.c_char_p, c_types.c_void_p, c_types.c_size_t)
_SYSCALL = kernel.LIBC["syscall"]
_SYSCALL.restype = c_types.c_long
_SYSCALL.argtypes = (
    c_types.c_long,
    c_types.c_long,
    c_types.c_char_p,
    c_types.c_long,
    c_types.c_long,
    c_types.c_long,
    c_types.c_long,
)


@dataclass(frozen=True, slots=True)
class Record:
    """What an inode is to look like. `device` is None but for a placeholder.

    NO_ID as owner of a placeholder: the kernel has it.
    """

    uid: int
    gid: int
    device: owner_xattrs.Device | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """The ids that the caller's files have where they are seen in `mounts` of this machine's."""

    uid: int
    gid: int
    mounts: Sequence[str]


def _fail() -> OSError:
    number = c_types.get_errno()
    return OSError(number, os.strerror(number))


class Inodes:
    """Records of all inodes that a path leads to. `follow`: the inode a symlink in the last place leads to."""

    def __init__(self) -> None:
        self._names = c_types.create_string_buffer(_LIST_BYTES)
        self._value = c_types.create_string_buffer(_VALUE_BYTES)
        self._stat = c_types.create_string_buffer(_STATX_BYTES)
        self._names_at, self._value_at, self._stat_at = map(c_types.addressof, (self._names, self._value, self._stat))
        self._unattributed: dict[bytes, Record] = {}  # by file system, inode and birth, where there are no attributes
        self._kept: Record | None = None
        self._kept_mounts: set[int] = set()
        machine = os.uname().machine
        self._mode, self._uid, self._rdev, self._size = _STAT_LAYOUTS.get(machine, (0, 0, 0, 0))
        self._newfstatat, self._statx = (syscalls.NATIVE.get(name, -1) for name in ("newfstatat", "statx"))

    # -- records ------------------------------------------------------------------------------------------------------

    def keep(self, kept: Kept) -> None:
        """Treat files without a record in those mounts as the caller's from now on."""
        self._kept = Record(kept.uid, kept.gid)
        for path in kept.mounts:
            self._call_statx(os.fsencode(path), 0, _STATX_MOUNT)
            self._kept_mounts.add(struct.unpack_from("=Q", self._stat.raw, _STATX_MOUNT_ID)[0])

    def record(self, path: bytes, *, follow: bool) -> Record | None:
        """Return what is recorded of the inode; None if nothing is: it belongs to root. OSError: there is none."""
        found = self._recorded(path, follow)
        return found if found is not None or self._kept is None else self._kept_record(path, follow)

    def _kept_record(self, path: bytes, follow: bool) -> Record | None:
        self._call_statx(path, 0 if follow else AT_SYMLINK_NOFOLLOW, _STATX_BASIC_AND_BORN | _STATX_MOUNT)
        raw = self._stat.raw
        uid, gid = struct.unpack_from("=II", raw, _STATX_UID)
        if self._kept is None or uid or struct.unpack_from("=Q", raw, _STATX_MOUNT_ID)[0] not in self._kept_mounts:
            return None
        return Record(self._kept.uid, gid or self._kept.gid)

    def _recorded(self, path: bytes, follow: bool) -> Record | None:
        size = _LIST[follow](path, self._names_at, _LIST_BYTES)
        if size > 0:
            names = self._names.raw[:size]
            if _OWN_PREFIX in names:
                return self._read(path, follow, has_device=_DEVICE in names)
            if _CAPABILITY in names:
                found = self._read_link(path, follow)
                if found is not None:
                    return found
        elif size < 0:
            number = c_types.get_errno()
            if number == errno.ERANGE:
                return self._read(path, follow, has_device=True) or self._read_link(path, follow)
            if number not in _NO_ATTRIBUTES:
                raise OSError(number, os.strerror(number))
        return self._unattributed.get(self._identity(path, follow)) if self._unattributed else None

    def has_list(self, path: bytes, *, follow: bool) -> bool:
        """Whether an access list decides with the mode who may do what."""
        return self._has(path, _ACCESS_LIST, follow)

    def has_default_list(self, path: bytes) -> bool:
        """Whether a directory gives what is made in it an access list."""
        return self._has(path, _DEFAULT_LIST, True)

    def _has(self, path: bytes, name: bytes, follow: bool) -> bool:
        size = _LIST[follow](path, self._names_at, _LIST_BYTES)
        if size < 0:
            return c_types.get_errno() == errno.ERANGE
        return bool(size) and name in self._names.raw[:size]

    def _get(self, path: bytes, name: bytes, follow: bool) -> bytes:
        size = _GET[follow](path, name, self._value_at, _VALUE_BYTES)
        return self._value.raw[:size] if size > 0 else b""

    def _read(self, path: bytes, follow: bool, *, has_device: bool) -> Record | None:
        owner = owner_xattrs.parse_owner(self._get(path, _OWNER, follow))
        device = owner_xattrs.parse_device(self._get(path, _DEVICE, follow)) if has_device else None
        if owner is None and device is None:
            return None
        return Record(*(owner or (0, 0)), device)

    def _read_link(self, path: bytes, follow: bool) -> Record | None:
        """Return the owner of what is neither a file nor a directory, where a capability would have a meaning."""
        value = self._get(path, _CAPABILITY, follow)
        owner = owner_xattrs.parse_link_record(value)
        if owner is None:
            return self._read_node(path, value, follow)
        return None if _takes_user_attributes(path, follow) else Record(*owner)

    def _read_node(self, path: bytes, value: bytes, follow: bool) -> Record | None:
        """Return the device a socket stands for."""
        found = owner_xattrs.parse_device_record(value)
        if found is None:
            return None
        found_stat = os.stat(path, follow_symlinks=follow)
        if not stat.S_ISSOCK(found_stat.st_mode):
            return None
        device, owner = found
        return Record(*(owner or (found_stat.st_uid, found_stat.st_gid)), device)

    def _identity(self, path: bytes, follow: bool) -> bytes:
        self._call_statx(path, 0 if follow else AT_SYMLINK_NOFOLLOW, _STATX_BASIC_AND_BORN)
        raw = self._stat.raw
        return raw[_STATX_INODE : _STATX_INODE + 8] + raw[_STATX_BORN : _STATX_BORN + 12] + raw[_STATX_DEVICE:144]

    def write(self, path: bytes, record: Record, *, follow: bool) -> None:
        """Record an owner (and a device); root's files carry no record, nor do those that are the caller's in his
        mounts.
        """
        if self._kept is not None and record.device is None and record == self._kept_record(path, follow):
            record = Record(0, 0)
        try:
            if _takes_user_attributes(path, follow):
                self._write(path, record, follow)
            elif record.device is not None:
                value = owner_xattrs.device_record(record.device, record.uid, record.gid)
                os.setxattr(path, _CAPABILITY, value, follow_symlinks=follow)
            elif record.uid or record.gid:
                value = owner_xattrs.link_record(record.uid, record.gid)
                os.setxattr(path, _CAPABILITY, value, follow_symlinks=follow)
            elif self._read_link(path, follow):
                os.removexattr(path, _CAPABILITY, follow_symlinks=follow)
            if not self._unattributed:
                return
        except OSError as exc:
            if exc.errno not in _NO_ATTRIBUTES:
                raise
            if record.uid or record.gid or record.device:
                identity = self._identity(path, follow)
                if len(self._unattributed) == MAX_UNATTRIBUTED and identity not in self._unattributed:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from exc
                self._unattributed[identity] = record
                return
        self._unattributed.pop(self._identity(path, follow), None)

    def _write(self, path: bytes, record: Record, follow: bool) -> None:
        if record.device is not None:
            os.setxattr(path, _DEVICE, owner_xattrs.device_text(record.device), follow_symlinks=follow)
        if record.uid or record.gid:
            os.setxattr(path, _OWNER, owner_xattrs.owner_text(record.uid, record.gid), follow_symlinks=follow)
        elif self._get(path, _OWNER, follow):
            os.removexattr(path, _OWNER, follow_symlinks=follow)

    def inherited_group(self, directory: bytes, *, from_root: bool) -> int | None:
        """Return the group that a set-group-ID directory hands to what is made in it; None from any other.

        `from_root`: also the group 0, which makes no difference to what root makes.
        """
        record = self.record(directory, follow=True)
        gid = record.gid if record is not None else 0
        if not gid and not from_root:
            return None
        return gid if os.stat(directory).st_mode & stat.S_ISGID else None

    # -- stat ---------------------------------------------------------------------------------------------------------

    def stat(self, path: bytes, record: Record, *, follow: bool) -> bytes:
        """Return the struct stat of the inode as `record` has it."""
        flags = 0 if follow else AT_SYMLINK_NOFOLLOW
        if _SYSCALL(self._newfstatat, AT_FDCWD, path, self._stat_at, flags, 0, 0) < 0:
            raise _fail()
        data = bytearray(self._stat.raw[: self._size])
        struct.pack_into("=II", data, self._uid, record.uid, record.gid)
        if record.device is not None:
            mode = struct.unpack_from("=I", data, self._mode)[0]
            struct.pack_into("=I", data, self._mode, device_mode(record.device, mode))
            struct.pack_into("=Q", data, self._rdev, os.makedev(record.device.major, record.device.minor))
        return bytes(data)

    def statx(self, path: bytes, record: Record, flags: int, mask: int, *, follow: bool) -> bytes:
        """Return the struct statx of the inode as `record` has it."""
        self._call_statx(path, flags | (0 if follow else AT_SYMLINK_NOFOLLOW), mask)
        data = bytearray(self._stat.raw[:_STATX_BYTES])
        struct.pack_into("=II", data, _STATX_UID, record.uid, record.gid)
        if record.device is not None:
            mode = struct.unpack_from("=H", data, _STATX_MODE)[0]
            struct.pack_into("=H", data, _STATX_MODE, device_mode(record.device, mode))
            struct.pack_into("=II", data, _STATX_RDEV, record.device.major, record.device.minor)
        return bytes(data)

    def _call_statx(self, path: bytes, flags: int, mask: int) -> None:
        if _SYSCALL(self._statx, AT_FDCWD, path, flags, mask, self._stat_at, 0) < 0:
            raise _fail()

    # -- attributes ---------------------------------------------------------------------------------------------------

    def visible_names(self, path: bytes, *, follow: bool) -> bytes | None:
        """Return the names of the inode's attributes without ours, each with its NUL; None if none of them is ours."""
        names = os.listxattr(path, follow_symlinks=follow)
        hidden = {name for name in names if name.startswith(owner_xattrs.OWN_PREFIX)}
        if owner_xattrs.CAPABILITY in names and self._read_link(path, follow):
            hidden.add(owner_xattrs.CAPABILITY)
        if not hidden:
            return None
        return b"".join(os.fsencode(name) + b"\0" for name in names if name not in hidden)


def device_mode(device: owner_xattrs.Device, mode: int) -> int:
    """Return the mode of the node that a placeholder of mode `mode` stands for: what chmod set, else what it was made
    with.
    """
    return (stat.S_IFCHR if device.kind == "char" else stat.S_IFBLK) | (stat.S_IMODE(mode) or device.mode)


def _takes_user_attributes(path: bytes, follow: bool) -> bool:
    mode = os.stat(path, follow_symlinks=follow).st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def real_chown(path: bytes, uid: int, gid: int, *, follow: bool) -> None:
    """Do what the kernel does besides giving a file away: drop set-id bits and capabilities.

    Ids only as far as there are.
    """
    os.chown(path, 0 if uid >= 0 else -1, 0 if gid >= 0 else -1, follow_symlinks=follow)


def remove(path: bytes, *, is_directory: bool) -> None:
    """Take back what was made and could not be recorded."""
    with contextlib.suppress(OSError):
        (os.rmdir if is_directory else os.unlink)(path)


def make_placeholder(path: bytes, mode: int) -> None:
    """Make the socket that stands for a device node."""
    os.mknod(path, stat.S_IFSOCK | mode)


def device_of(kind: int, number: int) -> owner_xattrs.Device:
    """Return the device that mknod(2) describes."""
    return owner_xattrs.Device("char" if kind == stat.S_IFCHR else "block", os.major(number), os.minor(number), 0)


def parent_of(path: bytes) -> bytes:
    """Return the directory in which the last name of `path` is."""
    directory, slash, _ = path.rpartition(b"/")
    return directory or slash
