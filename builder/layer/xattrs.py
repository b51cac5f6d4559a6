"""Extended attributes: which belong in a layer, and what tiffin keeps in its own on unpacked trees.

Laws: what `clean` lets out, unpacking puts back unchanged; overlayfs' and tiffin's bookkeeping never enters a layer and
is never taken from one.
"""

from __future__ import annotations

import errno
import os
import struct

OVERLAY_PREFIX = "user.overlay."
OVERLAY_OPAQUE = "user.overlay.opaque"
OWN_PREFIX = "user.tiffin."
OWNER = OWN_PREFIX + "owner"  # "uid:gid" of an inode whose owner the id map cannot hold
DEVICE = OWN_PREFIX + "device"  # "c 1:3": an empty file that stands for a device node
CAPABILITY = "security.capability"
_CAP_V3, _CAP_V2, _CAP_MASK = 0x03000000, 0x02000000, 0xFF000000
_CAP_V3_BYTES, _CAP_V2_BYTES = 24, 20
_NONE = (errno.ENOTSUP, errno.ENODATA, errno.EPERM, errno.EACCES)


def is_foreign(name: str) -> bool:
    """Whether a layer may not carry the attribute: bookkeeping of a file system, or of this machine's policy."""
    return name.startswith((OVERLAY_PREFIX, OWN_PREFIX, "trusted.", "system.")) or name == "security.selinux"


def read_all(path: str) -> dict[str, bytes]:
    """Every attribute of the inode at `path` (links not followed); none where the file system has none."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as exc:
        if exc.errno in _NONE:
            return {}
        raise
    result = {}
    for name in names:
        try:
            result[name] = os.getxattr(path, name, follow_symlinks=False)
        except OSError as exc:
            if exc.errno not in _NONE:
                raise
    return result


def clean(found: dict[str, bytes]) -> tuple[tuple[str, bytes], ...]:
    """What of `found` belongs in a layer, sorted. An overlay inside the image is escaped once; that is undone."""
    result = {}
    for name, value in found.items():
        if name.startswith(OVERLAY_PREFIX + "overlay."):
            result[OVERLAY_PREFIX + name[len(OVERLAY_PREFIX + "overlay.") :]] = value
        elif name == CAPABILITY:
            result[name] = _without_root_id(value)
        elif not is_foreign(name):
            result[name] = value
    return tuple(sorted(result.items()))


def _without_root_id(value: bytes) -> bytes:
    """A v3 capability names a root only this machine has; layers carry v2."""
    if len(value) == _CAP_V3_BYTES:
        magic = struct.unpack_from("<I", value)[0]
        if magic & _CAP_MASK == _CAP_V3:
            return struct.pack("<I", magic & ~_CAP_MASK | _CAP_V2) + value[4:_CAP_V2_BYTES]
    return value
