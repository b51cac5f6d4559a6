"""Credentials as a process believes to have them, and how system calls change them (credentials(7), capabilities(7)).

Values only: which process has which is tiffin.builder.sandbox.child.emulation.process's business.
"""

from __future__ import annotations

import errno

from tiffin.cache.foundation.frozen import dataclass, replace

CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_KILL = 0, 1, 2, 3, 4, 5
CAP_SETGID, CAP_SETUID, CAP_SETPCAP, CAP_SYS_CHROOT, CAP_SYS_PTRACE, CAP_MKNOD, CAP_SETFCAP = 6, 7, 8, 18, 19, 27, 31
ALL_CAPABILITIES = (1 << 41) - 1  # as many as tiffin.builder.sandbox.child.kernel has names for
# what setfsuid takes and gives: CHOWN, DAC_*, FOWNER, FSETID, LINUX_IMMUTABLE, MKNOD, MAC_OVERRIDE
FILE_SYSTEM_CAPABILITIES = 0b11111 | 1 << 9 | 1 << CAP_MKNOD | 1 << 32
LEAVE = -1  # an id that set*id takes for "as it is"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a process's system calls about ids are answered from. Capabilities are bit masks.

    `moved`: it may have another root directory than the supervisor.
    """

    ruid: int = 0
    euid: int = 0
    suid: int = 0
    fsuid: int = 0
    rgid: int = 0
    egid: int = 0
    sgid: int = 0
    fsgid: int = 0
    groups: tuple[int, ...] = ()
    permitted: int = ALL_CAPABILITIES
    effective: int = ALL_CAPABILITIES
    inheritable: int = 0
    ambient: int = 0
    bounding: int = ALL_CAPABILITIES
    keep_capabilities: bool = False
    no_new_privs: bool = False
    moved: bool = False

    @property
    def user_ids(self) -> tuple[int, int, int]:
        """Real, effective, saved."""
        return self.ruid, self.euid, self.suid

    @property
    def group_ids(self) -> tuple[int, int, int]:
        """Real, effective, saved."""
        return self.rgid, self.egid, self.sgid

    def can(self, capability: int) -> bool:
        return bool(self.effective >> capability & 1)

    def is_in_group(self, gid: int) -> bool:
        return gid == self.fsgid or gid in self.groups


def _refused() -> OSError:
    return PermissionError(errno.EPERM, "not permitted")


def set_users(old: Credentials, real: int, effective: int, saved: int) -> Credentials:
    """Apply setresuid(2)."""
    wanted = _three(old.user_ids, (real, effective, saved), old.can(CAP_SETUID))
    return _with_users(old, *wanted)


def set_user(old: Credentials, uid: int) -> Credentials:
    """Apply setuid(2)."""
    _check(uid)
    if old.can(CAP_SETUID):
        return _with_users(old, uid, uid, uid)
    if uid not in (old.ruid, old.suid):
        raise _refused()
    return _with_users(old, old.ruid, uid, old.suid)


def set_real_and_effective_user(old: Credentials, real: int, effective: int) -> Credentials:
    """Apply setreuid(2)."""
    wanted = _two(old.user_ids, real, effective, old.can(CAP_SETUID))
    return _with_users(old, *wanted)


def set_file_system_user(old: Credentials, uid: int) -> Credentials:
    """Apply setfsuid(2), which changes nothing when it is refused."""
    if uid == LEAVE or not (uid in (old.ruid, old.euid, old.suid, old.fsuid) or old.can(CAP_SETUID)):
        return old
    allowed = old.effective
    if old.fsuid == 0 != uid:
        allowed &= ~FILE_SYSTEM_CAPABILITIES
    elif old.fsuid != 0 == uid:
        allowed |= old.permitted & FILE_SYSTEM_CAPABILITIES
    return replace(old, fsuid=uid, effective=allowed)


def set_groups_of_ids(old: Credentials, real: int, effective: int, saved: int) -> Credentials:
    """Apply setresgid(2)."""
    wanted = _three(old.group_ids, (real, effective, saved), old.can(CAP_SETGID))
    return _with_group_ids(old, *wanted)


def set_group(old: Credentials, gid: int) -> Credentials:
    """Apply setgid(2)."""
    _check(gid)
    if old.can(CAP_SETGID):
        return _with_group_ids(old, gid, gid, gid)
    if gid not in (old.rgid, old.sgid):
        raise _refused()
    return _with_group_ids(old, old.rgid, gid, old.sgid)


def set_real_and_effective_group(old: Credentials, real: int, effective: int) -> Credentials:
    """Apply setregid(2)."""
    wanted = _two(old.group_ids, real, effective, old.can(CAP_SETGID))
    return _with_group_ids(old, *wanted)


def set_file_system_group(old: Credentials, gid: int) -> Credentials:
    """Apply setfsgid(2), which changes nothing when it is refused."""
    if gid == LEAVE or not (gid in (old.rgid, old.egid, old.sgid, old.fsgid) or old.can(CAP_SETGID)):
        return old
    return replace(old, fsgid=gid)


def set_supplementary(old: Credentials, groups: tuple[int, ...]) -> Credentials:
    """Apply setgroups(2)."""
    if not old.can(CAP_SETGID):
        raise _refused()
    return replace(old, groups=tuple(sorted(groups)))


def set_capabilities(old: Credentials, effective: int, permitted: int, inheritable: int) -> Credentials:
    """Apply capset(2)."""
    if permitted & ~old.permitted or effective & ~permitted:
        raise _refused()
    gained = inheritable & ~old.inheritable
    if gained & ~old.bounding or (gained & ~old.permitted and not old.can(CAP_SETPCAP)):
        raise _refused()
    ambient = old.ambient & permitted & inheritable
    return replace(old, effective=effective, permitted=permitted, inheritable=inheritable, ambient=ambient)


def executed(
    old: Credentials, owner: int | None, group: int | None, file_capabilities: tuple[int, int, bool] | None
) -> Credentials:
    """Apply execve(2) of a file whose set-user-ID bit gives `owner` and set-group-ID bit `group`.

    `file_capabilities` are the file's permitted and inheritable sets and its effective flag.
    """
    euid = old.euid if owner is None else owner
    egid = old.egid if group is None else group
    is_privileged = euid != old.euid or egid != old.egid or file_capabilities is not None
    ambient = 0 if is_privileged else old.ambient
    if 0 in (euid, old.ruid) and not (file_capabilities and euid == 0 != old.ruid):
        permitted, is_effective = old.inheritable | old.bounding, euid == 0
    elif file_capabilities:
        given, inherited, is_effective = file_capabilities
        permitted = old.inheritable & inherited | given & old.bounding
    else:
        permitted, is_effective = 0, False
    permitted |= ambient
    return replace(
        old,
        euid=euid,
        suid=euid,
        fsuid=euid,
        egid=egid,
        sgid=egid,
        fsgid=egid,
        permitted=permitted,
        effective=permitted if is_effective else ambient,
        ambient=ambient,
        keep_capabilities=False,
    )


def _check(number: int) -> None:
    if number == LEAVE:
        raise OSError(errno.EINVAL, "no such id")


def _three(old: tuple[int, int, int], wanted: tuple[int, int, int], may: bool) -> tuple[int, int, int]:
    if not may and any(number not in (LEAVE, *old) for number in wanted):
        raise _refused()
    real, effective, saved = (had if number == LEAVE else number for had, number in zip(old, wanted, strict=True))
    return real, effective, saved


def _two(old: tuple[int, int, int], real: int, effective: int, may: bool) -> tuple[int, int, int]:
    if not may and (real not in (LEAVE, *old[:2]) or effective not in (LEAVE, *old)):
        raise _refused()
    new_real = old[0] if real == LEAVE else real
    new_effective = old[1] if effective == LEAVE else effective
    changes_saved = real != LEAVE or (effective != LEAVE and effective != old[0])
    return new_real, new_effective, new_effective if changes_saved else old[2]


def _with_users(old: Credentials, ruid: int, euid: int, suid: int) -> Credentials:
    """Set user ids, and adjust the capabilities: capabilities(7), "Effect of user ID changes"."""
    permitted, effective, ambient = old.permitted, old.effective, old.ambient
    if 0 in old.user_ids and 0 not in (ruid, euid, suid):
        ambient = 0
        if not old.keep_capabilities:
            permitted = effective = 0
    if old.euid == 0 != euid:
        effective = 0
    elif old.euid != 0 == euid:
        effective = permitted
    return replace(
        old, ruid=ruid, euid=euid, suid=suid, fsuid=euid, permitted=permitted, effective=effective, ambient=ambient
    )


def _with_group_ids(old: Credentials, rgid: int, egid: int, sgid: int) -> Credentials:
    return replace(old, rgid=rgid, egid=egid, sgid=sgid, fsgid=egid)
