"""What a tar says of each path, apart from content and time: for comparing trees that came about in different ways."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path
from posixpath import normpath
from typing import NamedTuple

KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "symlink",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
    tarfile.FIFOTYPE: "fifo",
}
_XATTR = "SCHILY.xattr."
SYMLINK_MODE = 0o777  # which no system call sets, and writers differ about


class Listed(NamedTuple):
    """One path. `names` are all hard links of the inode, its own among them."""

    kind: str
    mode: str
    owner: tuple[int, int]
    target: str
    device: tuple[int, int]
    xattrs: tuple[tuple[str, bytes], ...]
    names: tuple[str, ...]


def list_tar(path: Path) -> Mapping[str, Listed]:
    """By path, relative and without `./`."""
    found: dict[str, Listed] = {}
    groups: dict[str, list[str]] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            name = normpath(member.name)
            if member.islnk():
                first = normpath(member.linkname)
                groups.setdefault(first, [first]).append(name)
                found[name] = found[first]
            else:
                found[name] = _listed(member)
    for first, names in groups.items():
        for name in names:
            found[name] = found[first]._replace(names=tuple(sorted(names)))
    return found


def _listed(member: tarfile.TarInfo) -> Listed:
    is_device = member.ischr() or member.isblk()
    attributes = {
        key.removeprefix(_XATTR): value.encode("utf-8", "surrogateescape")
        for key, value in member.pax_headers.items()
        if key.startswith(_XATTR)
    }
    return Listed(
        kind=KINDS[member.type],
        mode=f"{SYMLINK_MODE if member.issym() else member.mode & 0o7777:o}",
        owner=(member.uid, member.gid),
        target=member.linkname if member.issym() else "",
        device=(member.devmajor, member.devminor) if is_device else (0, 0),
        xattrs=tuple(sorted(attributes.items())),
        names=(),
    )
