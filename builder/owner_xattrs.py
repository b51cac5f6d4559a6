"""How an inode keeps an owner, or a device node, that the kernel would not hold: as attributes of its own.

So the record survives rename, link and copy-up, and goes with the inode. Layers never carry these attributes. Files and
directories take `user.` attributes; symlinks, fifos and sockets only `security.` ones, and of those a user namespace
may set just the capability: it means nothing to the kernel there, so an owner is kept in its four words.

A socket stands for a device node: like a node without a driver it opens for nobody (ENXIO), so nothing is ever written
to it or read from it, and chmod, rename and link do with it what they do with a node. Stands alone like
tiffin.builder.sandbox.child.enter, which imports it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct

from tiffin.cache.foundation.frozen import dataclass

OWN_PREFIX = "user.tiffin."
OWNER = OWN_PREFIX + "owner"  # "uid:gid" of a file, directory or placeholder
DEVICE = OWN_PREFIX + "device"  # "c 1:3 0666": an empty file of mode 000 for a node, where sockets take no attribute
CAPABILITY = "security.capability"
CAP_REVISION_2 = 0x02000000
NO_ID = (1 << 32) - 1  # what chown takes for "leave it"
_LINK = struct.Struct("<IIIII")  # struct vfs_cap_data: magic, permitted and inheritable, low words then high words
_MARK = 0x6E666974  # "tifn"
_DEVICE_MARKS = {0x64666963: "char", 0x64666962: "block"}  # "cifd", "bifd"
_MINOR_BITS, _MAJOR_BITS = 20, 12  # of the kernel's dev_t
_MAX_DEVICE = 1 << 24


@dataclass(frozen=True, slots=True)
class Device:
    """What a placeholder stands for; `kind` is "char" or "block"."""

    kind: str
    major: int
    minor: int
    mode: int


def owner_text(uid: int, gid: int) -> bytes:
    """Return the value of OWNER."""
    return b"%d:%d" % (uid, gid)


def parse_owner(value: bytes) -> tuple[int, int] | None:
    """Return the owner in a value of OWNER; None if it makes no sense."""
    first, colon, second = value.partition(b":")
    uid, gid = _number(first, NO_ID), _number(second, NO_ID)
    return (uid, gid) if colon and uid is not None and gid is not None else None


def link_record(uid: int, gid: int) -> bytes:
    """Return the value of CAPABILITY on a symlink or fifo that belongs to somebody."""
    return _LINK.pack(CAP_REVISION_2, uid, _MARK, gid, _MARK)


def parse_link_record(value: bytes) -> tuple[int, int] | None:
    """Return the owner in a value of CAPABILITY on a symlink or fifo; None if it is not a record of ours."""
    if len(value) < _LINK.size:
        return None
    _, uid, mark, gid, second = _LINK.unpack_from(value)  # another namespace sees revision 3, a word longer
    return (uid, gid) if mark == second == _MARK and max(uid, gid) < NO_ID else None


def device_record(device: Device, uid: int = NO_ID, gid: int = NO_ID) -> bytes:
    """Return the value of CAPABILITY on a socket that stands for a device node; NO_ID: it belongs to whom the inode
    does.

    OSError for numbers that no kernel has.
    """
    if device.major >> _MAJOR_BITS or device.minor >> _MINOR_BITS:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    mark = next(mark for mark, kind in _DEVICE_MARKS.items() if kind == device.kind)
    return _LINK.pack(CAP_REVISION_2, uid, device.major << _MINOR_BITS | device.minor, gid, mark)


def parse_device_record(value: bytes) -> tuple[Device, tuple[int, int] | None] | None:
    """Return the device and its owner, if one is noted, in a value of CAPABILITY on a socket; None if it is not our
    record.

    The mode of the node is the socket's own.
    """
    if len(value) < _LINK.size:
        return None
    _, uid, number, gid, mark = _LINK.unpack_from(value)
    kind = _DEVICE_MARKS.get(mark)
    if kind is None or (kind == "char" and not number):
        return None
    device = Device(kind, number >> _MINOR_BITS, number & ((1 << _MINOR_BITS) - 1), 0)
    return device, (uid, gid) if max(uid, gid) < NO_ID else None


def device_text(device: Device) -> bytes:
    """Return the value of DEVICE for a device node."""
    return f"{'c' if device.kind == 'char' else 'b'} {device.major}:{device.minor} {device.mode:04o}".encode()


def parse_device(value: bytes) -> Device | None:
    """Return the device in a value of DEVICE; None if it makes no sense, or would be a whiteout."""
    words = value.split(b" ")
    kind = {b"c": "char", b"b": "block"}.get(words[0])
    if kind is None or len(words) not in (2, 3):
        return None
    first, _, second = words[1].partition(b":")
    major, minor = _number(first, _MAX_DEVICE), _number(second, _MAX_DEVICE)
    mode = _number(words[2], 0o10000, 8) if len(words) == 3 else 0
    if major is None or minor is None or mode is None or (kind == "char" and major == minor == 0):
        return None
    return Device(kind, major, minor, mode)


def give(target: int | str | bytes | os.PathLike[str], uid: int, gid: int, *, records: bool = False) -> None:
    """Make what is not a symlink belong to somebody, by a record where the id map has no such id, or if told so."""
    try:
        if records:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        os.chown(target, uid, gid)
    except OSError as exc:
        if exc.errno not in (errno.EINVAL, errno.EPERM):
            raise
        try:
            os.setxattr(target, OWNER, owner_text(uid, gid))
        except PermissionError:  # a socket or fifo
            os.setxattr(target, CAPABILITY, link_record(uid, gid))
    else:
        with contextlib.suppress(OSError):
            os.removexattr(target, OWNER)


def noted_owner(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Return the owner recorded for the file or directory at `path`; None without a record."""
    try:
        return parse_owner(os.getxattr(path, OWNER, follow_symlinks=False))
    except OSError:
        return None


def _number(text: bytes, limit: int, base: int = 10) -> int | None:
    if not text.isdigit() or len(text) > 10:
        return None
    try:
        number = int(text, base)
    except ValueError:
        return None
    return number if number < limit else None
