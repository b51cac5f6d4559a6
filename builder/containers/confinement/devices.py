"""--device: nodes of the machine in a container, and names that the Container Device Interface resolves."""

from __future__ import annotations

import os
import posixpath
import re
import stat

from tiffin.builder.containers.confinement.asked import ALL_ACCESS, Device
from tiffin.builder.errors import UsageError

QUALIFIED_NAME = r"[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]/[A-Za-z][A-Za-z0-9_-]*=[A-Za-z0-9][A-Za-z0-9_.:-]*"  # CDI's


def is_device_name(text: str) -> bool:
    """Tell whether a text names a device of the Container Device Interface."""
    return re.fullmatch(QUALIFIED_NAME, text) is not None


def parse_device(text: str) -> Device:
    """Read /dev/X[:PATH][:rwm]; raises UsageError, also where there is no such node or the caller may not open it."""
    what = f'--device "{text}"'
    parts = text.split(":")
    host_path, path, access = parts[0], parts[0], ALL_ACCESS
    if len(parts) == 2 and _is_access(parts[1]):
        access = parts[1]
    elif len(parts) >= 2:
        path = parts[1] or host_path
    if len(parts) == 3:
        access = parts[2]
    if len(parts) > 3 or not host_path.startswith("/") or not path.startswith("/"):
        raise UsageError(f"{what} is not /dev/NAME[:PATH[:rwm]]", remedy="write --device /dev/fuse")
    if not _is_access(access):
        raise UsageError(f'{what}: "{access}" is not a mode of devices', remedy="use the letters r, w and m")
    check_node(host_path, access, what)
    return Device(host_path=os.path.realpath(host_path), path=posixpath.normpath(path), access=access)


def check_node(path: str, access: str, what: str) -> None:
    """Raise UsageError where there is no such device, or the caller may not open it."""
    try:
        mode = os.stat(path).st_mode
    except OSError as exc:
        raise UsageError(f"{what}: {path}: {exc.strerror}", remedy="see what is in /dev of this machine") from exc
    if stat.S_ISDIR(mode):
        return
    if not (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
        raise UsageError(f"{what}: {path} is not a device", remedy="mount it with -v")
    if not os.access(path, (os.R_OK if "r" in access else 0) | (os.W_OK if "w" in access else 0)):
        raise UsageError(
            f"{what}: you may not open {path}, and so no container of yours",
            remedy="have the administrator give you access to it, by a group or an access list",
        )


def _is_access(text: str) -> bool:
    return bool(text) and set(text) <= set(ALL_ACCESS) and len(set(text)) == len(text)
