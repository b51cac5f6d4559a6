"""May somebody do that to an inode? The kernel's rules (fs/namei.c, fs/attr.c, acl(5)), as values."""

from __future__ import annotations

import stat
import struct

from tiffin.builder.sandbox.child.emulation.credentials import (
    CAP_CHOWN,
    CAP_DAC_OVERRIDE,
    CAP_DAC_READ_SEARCH,
    CAP_FOWNER,
    CAP_FSETID,
    CAP_KILL,
    CAP_SYS_CHROOT,
    Credentials,
)
from tiffin.cache.foundation.frozen import dataclass

READ, WRITE, SEARCH = 4, 2, 1  # as in a mode; SEARCH of a file is to execute it
# who has all of these is asked for nothing here
_MIGHTY = sum(1 << item for item in (CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_KILL, CAP_SYS_CHROOT))
_EVERYBODY = {want: want * 0o111 for want in range(8)}
# posix_acl_xattr.h: a version, then entries of tag, permissions and id
_ACL_VERSION, _ACL_ENTRY = 2, struct.Struct("<HHI")
_USER, _GROUP_OBJECT, _GROUP, _MASK, _OTHER = 0x02, 0x04, 0x08, 0x10, 0x20  # the owner's entry is in the mode
_Entry = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Facts:
    """Of an inode: what a permission depends on.

    `mode` with its type; `acl` as in system.posix_acl_access, or empty.
    """

    mode: int
    uid: int
    gid: int
    acl: bytes = b""


def is_mighty(credentials: Credentials) -> bool:
    """Whether nothing about files is refused, so that no rule need be looked at."""
    return credentials.effective & _MIGHTY == _MIGHTY


def is_for_everybody(mode: int, want: int) -> bool:
    """Whether owner, group and others have it alike: then neither owner nor list matters."""
    everybody = _EVERYBODY[want]
    return mode & everybody == everybody


def may(credentials: Credentials, facts: Facts, want: int) -> bool:
    """Whether `want` (of READ, WRITE, SEARCH) is granted: generic_permission of the kernel."""
    if is_for_everybody(facts.mode, want) and not facts.acl:
        return True
    if _is_granted(credentials, facts, want):
        return True
    if stat.S_ISDIR(facts.mode):
        if not want & WRITE and credentials.can(CAP_DAC_READ_SEARCH):
            return True
        return credentials.can(CAP_DAC_OVERRIDE)
    if want == READ and credentials.can(CAP_DAC_READ_SEARCH):
        return True
    return bool(not want & SEARCH or facts.mode & 0o111) and credentials.can(CAP_DAC_OVERRIDE)


def _is_granted(credentials: Credentials, facts: Facts, want: int) -> bool:
    """Whether the one class, or the entry of the list, that counts has all of it."""
    if credentials.fsuid == facts.uid:
        return not want & ~(facts.mode >> 6)
    entries = _entries(facts.acl) if facts.mode & 0o070 else []
    if entries:
        return _is_granted_by_list(credentials, facts, entries, want)
    return not want & ~(facts.mode >> 3 if credentials.is_in_group(facts.gid) else facts.mode)


def _is_granted_by_list(credentials: Credentials, facts: Facts, entries: list[_Entry], want: int) -> bool:
    """Whether an access list grants it (acl(5), "ACCESS CHECK ALGORITHM"): of several groups one has to grant all of
    it.
    """
    mask = next((bits for tag, bits, _ in entries if tag == _MASK), 7)
    for tag, bits, identity in entries:
        if tag == _USER and identity == credentials.fsuid:
            return not want & ~(bits & mask)
    groups = [
        bits & mask
        for tag, bits, identity in entries
        if (tag == _GROUP_OBJECT and credentials.is_in_group(facts.gid))
        or (tag == _GROUP and credentials.is_in_group(identity))
    ]
    if groups:
        return any(not want & ~bits for bits in groups)
    return any(tag == _OTHER and not want & ~bits for tag, bits, _ in entries)


def _entries(acl: bytes) -> list[_Entry]:
    """Empty for what is not a list."""
    if len(acl) < 4 or struct.unpack_from("<I", acl)[0] != _ACL_VERSION or (len(acl) - 4) % _ACL_ENTRY.size:
        return []
    return list(_ACL_ENTRY.iter_unpack(acl[4:]))


def owns(credentials: Credentials, facts: Facts) -> bool:
    """Whether what only an owner may do is granted: inode_owner_or_capable."""
    return credentials.fsuid == facts.uid or credentials.can(CAP_FOWNER)


def is_kept_by_sticky(credentials: Credentials, directory: Facts, facts: Facts) -> bool:
    """Whether a sticky directory keeps its file from being removed or renamed by somebody else: check_sticky."""
    if not directory.mode & stat.S_ISVTX:
        return False
    return credentials.fsuid not in (facts.uid, directory.uid) and not credentials.can(CAP_FOWNER)


def is_safe_to_link(credentials: Credentials, facts: Facts) -> bool:
    """Whether fs.protected_hardlinks lets somebody link a file: his own, or a plain one he may read and write."""
    if owns(credentials, facts):
        return True
    mode = facts.mode
    if not stat.S_ISREG(mode) or mode & stat.S_ISUID or mode & 0o2010 == 0o2010:
        return False
    return may(credentials, facts, READ | WRITE)


def keeps_set_group_id(credentials: Credentials, facts: Facts) -> bool:
    """Whether chmod leaves the set-group-ID bit that is asked for."""
    return credentials.is_in_group(facts.gid) or credentials.can(CAP_FSETID)


def may_signal(credentials: Credentials, target: Credentials) -> bool:
    """Whether kill(2), "Permissions", allows the signal."""
    if credentials.can(CAP_KILL):
        return True
    return bool({credentials.euid, credentials.ruid} & {target.suid, target.ruid})
