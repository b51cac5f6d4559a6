"""Extended attributes: which belong in a layer, and what tiffin keeps in its own on unpacked trees.

Laws: what `from_tree` lets out, unpacking puts back unchanged, except `user.overlay.*` (an overlay inside the image),
which a layer may carry for others but which never comes back onto a tree of ours. overlayfs' and tiffin's bookkeeping
never enters a layer and is never taken from one.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Mapping

from tiffin.builder.owner_xattrs import (
    CAPABILITY,
    DEVICE,
    OWN_PREFIX,
    OWNER,
    Device,
    parse_device,
    parse_device_record,
    parse_link_record,
    parse_owner,
)

OVERLAY_PREFIX = "user.overlay."
OVERLAY_OPAQUE = "user.overlay.opaque"
_CAP_V3, _CAP_V2, _CAP_MASK = 0x03000000, 0x02000000, 0xFF000000
_CAP_V3_BYTES, _CAP_V2_BYTES = 24, 20
ACCESS_LIST, DEFAULT_LIST = "system.posix_acl_access", "system.posix_acl_default"
ACLS = (ACCESS_LIST, DEFAULT_LIST)
_FOREIGN = (OVERLAY_PREFIX, OWN_PREFIX, "trusted.", "system.")
_NONE = (errno.ENOTSUP, errno.ENODATA, errno.EPERM, errno.EACCES)

Attributes = tuple[tuple[str, bytes], ...]


def is_foreign(name: str) -> bool:
    """Whether a layer may not carry the attribute: bookkeeping of a file system, or of this machine's policy."""
    return (name.startswith(_FOREIGN) and name not in ACLS) or name == "security.selinux"


def is_opaque(directory: bytes) -> bool:
    """Whether an overlay shows nothing of what lower trees have in the directory."""
    try:
        return os.getxattr(directory, OVERLAY_OPAQUE, follow_symlinks=False) == b"y"
    except OSError as exc:
        if exc.errno in _NONE:
            return False
        raise


def read_all(path: bytes) -> dict[str, bytes]:
    """Return every attribute of the inode at `path`, a link there not followed; none where there can be none."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as exc:
        if exc.errno in _NONE:
            return {}
        raise
    result = {}
    for name in names:
        raw = os.fsencode(name)
        try:
            result[raw.decode("utf-8", "surrogateescape")] = os.getxattr(path, raw, follow_symlinks=False)
        except OSError as exc:
            if exc.errno not in _NONE:
                raise
    return result


def from_tree(found: Mapping[str, bytes], kind: str) -> Attributes:
    """Return what of an inode's attributes belongs in a layer, sorted.

    An overlay inside escapes its own; that is undone.
    """
    result = {}
    for name, value in found.items():
        if name == CAPABILITY and not takes_user_attributes(kind):
            continue
        if name.startswith(OVERLAY_PREFIX + "overlay."):
            result[OVERLAY_PREFIX + name[len(OVERLAY_PREFIX + "overlay.") :]] = value
        elif not is_foreign(name):
            result[name] = _without_root_id(value) if name == CAPABILITY else value
    return tuple(sorted(result.items()))


def from_layer(found: Mapping[str, bytes]) -> Attributes:
    """Return what of a tar entry's attributes may be put on a tree, sorted."""
    return tuple(
        sorted(
            (name, _without_root_id(value) if name == CAPABILITY else value)
            for name, value in found.items()
            if name and "\0" not in name and not is_foreign(name) and (name not in ACLS or _is_list(value))
        )
    )


def owner(found: Mapping[str, bytes], kind: str) -> tuple[int, int] | None:
    """Return the owner kept beside an inode; None if there is none, or none that makes sense."""
    if takes_user_attributes(kind):
        return parse_owner(found.get(OWNER, b""))
    return parse_link_record(found.get(CAPABILITY, b""))


def device(found: Mapping[str, bytes]) -> Device | None:
    """Return the device an empty file stands for; None if it is a file, or the attribute makes no sense."""
    return parse_device(found.get(DEVICE, b""))


def socket_device(found: Mapping[str, bytes]) -> tuple[Device, tuple[int, int] | None] | None:
    """Return the device a socket stands for, and its owner where one is kept beside it; None if it is a socket."""
    return parse_device_record(found.get(CAPABILITY, b""))


def takes_user_attributes(kind: str) -> bool:
    """Whether inodes of the kind an entry has may carry attributes of users; on others a capability means nothing."""
    return kind in ("file", "dir")


def _without_root_id(value: bytes) -> bytes:
    """Turn a v3 capability, which names a root that only this machine has, into v2, which layers carry."""
    if len(value) == _CAP_V3_BYTES:
        magic = struct.unpack_from("<I", value)[0]
        if magic & _CAP_MASK == _CAP_V3:
            return struct.pack("<I", magic & ~_CAP_MASK | _CAP_V2) + value[4:_CAP_V2_BYTES]
    return value


_ACL_VERSION, _ACL_HEADER_BYTES, _ACL_ENTRY = b"\2\0\0\0", 4, struct.Struct("<HHI")
_ACL_OWNER, _ACL_GROUP, _ACL_MASK, _ACL_OTHER = 0x01, 0x04, 0x10, 0x20


def agreeing(attributes: Attributes, mode: int) -> Attributes:
    """Return `attributes` with an access list as chmod(2) to `mode` leaves it."""
    known = dict(attributes)
    value = known.get(ACCESS_LIST)
    if value is None:
        return attributes
    entries = list(_ACL_ENTRY.iter_unpack(value[_ACL_HEADER_BYTES:]))
    group = _ACL_MASK if any(tag == _ACL_MASK for tag, _, _ in entries) else _ACL_GROUP
    bits = {_ACL_OWNER: mode >> 6 & 7, group: mode >> 3 & 7, _ACL_OTHER: mode & 7}
    packed = [_ACL_ENTRY.pack(tag, bits.get(tag, permissions), number) for tag, permissions, number in entries]
    return tuple(sorted({**known, ACCESS_LIST: value[:_ACL_HEADER_BYTES] + b"".join(packed)}.items()))


def handed_on(directory: Attributes, kind: str, mode: int) -> tuple[int, Attributes]:
    """Return the mode and the access lists of what is made with `mode` in a directory with these attributes, as acl(5)
    has it.
    """
    value = dict(directory).get(DEFAULT_LIST)
    if value is None or kind == "symlink":
        return mode, ()
    entries = list(_ACL_ENTRY.iter_unpack(value[_ACL_HEADER_BYTES:]))
    group = _ACL_MASK if any(tag == _ACL_MASK for tag, _, _ in entries) else _ACL_GROUP
    places = {_ACL_OWNER: 6, group: 3, _ACL_OTHER: 0}
    masked = [
        (tag, bits & mode >> places.get(tag, 0) if tag in places else bits, number) for tag, bits, number in entries
    ]
    made = sum(bits << places[tag] for tag, bits, _ in masked if tag in places)
    lists = {DEFAULT_LIST: value} if kind == "dir" else {}
    if any(tag not in (_ACL_OWNER, _ACL_GROUP, _ACL_OTHER) for tag, _, _ in entries):
        lists[ACCESS_LIST] = value[:_ACL_HEADER_BYTES] + b"".join(_ACL_ENTRY.pack(*entry) for entry in masked)
    return mode & ~0o777 | made, tuple(sorted(lists.items()))


def _is_list(value: bytes) -> bool:
    """Whether the value of an access list is one: the kernel refuses others."""
    entries = value[_ACL_HEADER_BYTES:]
    return value[:_ACL_HEADER_BYTES] == _ACL_VERSION and bool(entries) and not len(entries) % _ACL_ENTRY.size
