"""System calls Python lacks."""

from __future__ import annotations

import contextlib
import os
import struct

from tiffin.cache.foundation import c_types
from tiffin.cache.foundation.signals import signal

LIBC = c_types.CDLL(None, use_errno=True)
LIBC.syscall.restype = c_types.c_long

CLONE_NEWCGROUP = 0x02000000
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID = 0x00200000, 0x01000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_MOVE = 1, 2, 4, 8, 0x1000, 0x2000
MS_REC, MS_PRIVATE, MS_SLAVE = 0x4000, 1 << 18, 1 << 19
MNT_DETACH = 2
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC = 1, 2, 4, 8
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
OPEN_TREE_CLONE = 1
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 0x04, 0x40
FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC = 1, 1
FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 0, 1, 6
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_IN_ROOT = 0x02, 0x04, 0x10
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_CAPBSET_DROP = 1, 4, 8, 24
PR_SET_NAME, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 15, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
PR_SET_CHILD_SUBREAPER, PR_GET_TID_ADDRESS = 36, 40
CAPABILITY_VERSION_3 = 0x20080522
SECCOMP_SET_MODE_FILTER, SECCOMP_GET_ACTION_AVAIL = 1, 2
SECCOMP_FILTER_TSYNC, SECCOMP_FILTER_LOG, SECCOMP_FILTER_SPEC_ALLOW = 1, 2, 4
SECCOMP_FILTER_NEW_LISTENER, SECCOMP_FILTER_TSYNC_ESRCH, SECCOMP_FILTER_WAIT_KILLABLE_RECV = 8, 16, 32

# numbers of the calls; from 424 on they are the same on every architecture
_OLD = {
    "x86_64": {"pivot_root": 155, "capset": 126, "seccomp": 317},
    "aarch64": {"pivot_root": 41, "capset": 91, "seccomp": 277},
}.get(os.uname().machine, {})
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 428, 429, 430, 431, 432
_CLONE3, _CLOSE_RANGE, _OPENAT2, _PIDFD_GETFD, _MOUNT_SETATTR = 435, 436, 437, 438, 442
CLOSE_RANGE_CLOEXEC = 4
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
LANDLOCK_CREATE_RULESET_VERSION, LANDLOCK_WITH_SCOPES = 1, 6  # the ABI that has them is of Linux 6.12
LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET, LANDLOCK_SCOPE_SIGNAL = 1, 2

CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip


def _call(number: int, what: str, *arguments: object) -> int:
    """Make a raw system call. Every argument is widened: the C function is variadic and would cut them to 32 bits."""
    widened = [
        c_types.c_char_p(argument) if isinstance(argument, bytes) else c_types.c_long(argument or 0)  # type: ignore[arg-type]  # an int or None
        for argument in arguments
    ]
    result = LIBC.syscall(c_types.c_long(number), *widened)
    if result < 0:
        number = c_types.get_errno()
        raise OSError(number, os.strerror(number), what)
    return int(result)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = c_types.get_errno()
        raise OSError(number, os.strerror(number), what)


def set_file_system_ids(uid: int, gid: int) -> None:
    """Set whose files the calling thread opens; root takes the ids of others and comes back."""
    LIBC.setfsuid(c_types.c_uint(0))  # else the second could not be set
    LIBC.setfsgid(c_types.c_uint(gid))
    LIBC.setfsuid(c_types.c_uint(uid))


def unshare(flags: int) -> None:
    _check(LIBC.unshare(c_types.c_int(flags)), "unshare")


def fork_into(namespaces: int) -> int:
    """Fork, in a process with one thread, a child in new namespaces (CLONE_NEW…); this process stays in its own.

    What unshare(2) makes for children cannot be made twice, and a process that is not root has no way back from it.
    OSError: ENOSYS or EPERM where a seccomp profile is around us.
    """
    python = c_types.PyDLL(None, use_errno=True)  # which goes on holding the interpreter's lock, in the child too
    place = c_types.c_ulong()  # where the C library keeps the number of the thread, which is another one in the child
    flags = namespaces
    with contextlib.suppress(OSError):
        prctl(PR_GET_TID_ADDRESS, c_types.addressof(place))
        flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID
    clone_args = struct.pack("=8Q", flags, 0, place.value, 0, signal.SIGCHLD, 0, 0, 0)
    python.PyOS_BeforeFork()
    pid = python.syscall(c_types.c_long(_CLONE3), clone_args, c_types.c_long(len(clone_args)))
    if pid == 0:
        python.PyOS_AfterFork_Child()
        return 0
    number = c_types.get_errno()
    python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, os.strerror(number), "clone3")
    return int(pid)


def setns(descriptor: int, kind: int) -> None:
    """Enter the namespace of `kind` (CLONE_NEW…) that `descriptor` is."""
    _check(LIBC.setns(c_types.c_int(descriptor), c_types.c_int(kind)), "setns")


def prctl(option: int, argument: int = 0, second: int = 0) -> None:
    _check(LIBC.prctl(c_types.c_int(option), *(c_types.c_ulong(value) for value in (argument, second, 0, 0))), "prctl")


def set_name(name: bytes) -> None:
    """Set what ps calls this process; 15 bytes of it."""
    buffer = c_types.create_string_buffer(name)
    prctl(PR_SET_NAME, c_types.addressof(buffer))


def sethostname(name: bytes) -> None:
    _check(LIBC.sethostname(name, c_types.c_size_t(len(name))), "sethostname")


def setdomainname(name: bytes) -> None:
    _check(LIBC.setdomainname(name, c_types.c_size_t(len(name))), "setdomainname")


def mount(source: bytes | None, target: bytes, kind: bytes | None, flags: int, data: bytes | None = None) -> None:
    _check(LIBC.mount(source, target, kind, c_types.c_ulong(flags), data), f"mount {os.fsdecode(target)}")


def umount_detached(target: bytes) -> None:
    _check(LIBC.umount2(target, c_types.c_int(MNT_DETACH)), f"umount {os.fsdecode(target)}")


def pivot_root(new: bytes, old: bytes) -> None:
    if "pivot_root" not in _OLD:
        raise OSError(38, os.strerror(38), "pivot_root")
    _call(_OLD["pivot_root"], "pivot_root", new, old)


def new_filesystem(kind: str, options: list[tuple[str, str | None]], attributes: int) -> int:
    """Return a detached mount of a new file system; options without a value are flags. The caller closes it."""
    fs_fd = _call(_FSOPEN, f"fsopen {kind}", kind.encode(), FSOPEN_CLOEXEC)
    try:
        for key, value in options:
            command = FSCONFIG_SET_FLAG if value is None else FSCONFIG_SET_STRING
            raw = None if value is None else os.fsencode(value)
            _call(_FSCONFIG, f"mount option {key} of {kind}", fs_fd, command, key.encode(), raw, 0)
        _call(_FSCONFIG, f"mount {kind}", fs_fd, FSCONFIG_CMD_CREATE, None, None, 0)
        return _call(_FSMOUNT, f"mount {kind}", fs_fd, FSMOUNT_CLOEXEC, attributes)
    finally:
        os.close(fs_fd)


def clone_tree(path: str, *, recursive: bool, directory_fd: int = AT_FDCWD) -> int:
    """Return a detached copy of the mount at `path`. The caller closes it."""
    flags = OPEN_TREE_CLONE | os.O_CLOEXEC | (AT_RECURSIVE if recursive else 0)
    return _call(_OPEN_TREE, f"bind {path}", directory_fd, os.fsencode(path), flags)


def clone_descriptor(descriptor: int) -> int:
    """Return a detached copy of the mount at what `descriptor` (O_PATH) is: that file or directory and what is
    below.
    """
    flags = OPEN_TREE_CLONE | os.O_CLOEXEC | AT_RECURSIVE | AT_EMPTY_PATH
    return _call(_OPEN_TREE, "bind", descriptor, b"", flags)


def set_attributes(mount_fd: int, attributes: int, *, recursive: bool) -> None:
    """Add mount attributes (read-only and the like) to a detached mount."""
    struct_mount_attr = struct.pack("<QQQQ", attributes, 0, 0, 0)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    _call(_MOUNT_SETATTR, "mount_setattr", mount_fd, b"", flags, struct_mount_attr, len(struct_mount_attr))


def make_slave(mount_fd: int) -> None:
    """Let mounts made where a detached mount and those below it were copied from appear in it, and none the other
    way.
    """
    struct_mount_attr = struct.pack("<QQQQ", 0, 0, MS_SLAVE, 0)
    flags = AT_EMPTY_PATH | AT_RECURSIVE
    _call(_MOUNT_SETATTR, "mount_setattr", mount_fd, b"", flags, struct_mount_attr, len(struct_mount_attr))


def attach(mount_fd: int, target_fd: int, what: str) -> None:
    """Put a detached mount onto what `target_fd` (opened with O_PATH) is."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    _call(_MOVE_MOUNT, f"mount on {what}", mount_fd, b"", target_fd, b"", flags)


def open_in_root(root_fd: int, path: str, flags: int, *, follow: bool = True) -> int:
    """Open by openat2 with `root_fd` as the root: no symlink, ".." or magic link leads out."""
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (0 if follow else RESOLVE_NO_SYMLINKS)
    how = struct.pack("<QQQ", flags | os.O_CLOEXEC, 0, resolve)
    return _call(_OPENAT2, path, root_fd, os.fsencode(path), how, len(how))


def copy_descriptor(pidfd: int, descriptor: int) -> int:
    """Return a copy of another process's descriptor, closed when this one executes; the caller closes it."""
    return _call(_PIDFD_GETFD, "pidfd_getfd", pidfd, descriptor, 0)


def close_on_exec(first: int) -> None:
    """Close `first` and every descriptor above it when another program is executed."""
    _call(_CLOSE_RANGE, "close_range", first, (1 << 32) - 1, CLOSE_RANGE_CLOEXEC)


def restrict_scope(scopes: int) -> bool:
    """Keep this process, and what it starts, to abstract sockets or signals (LANDLOCK_SCOPE_…) among themselves.

    Needs CAP_SYS_ADMIN or no_new_privs. False where the kernel has no such thing.
    """
    try:
        version = _call(_LANDLOCK_CREATE_RULESET, "landlock", None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    except OSError:
        return False
    if version < LANDLOCK_WITH_SCOPES:
        return False
    attributes = struct.pack("<QQQ", 0, 0, scopes)  # no files, no ports
    ruleset = _call(_LANDLOCK_CREATE_RULESET, "landlock", attributes, len(attributes), 0)
    try:
        _call(_LANDLOCK_RESTRICT_SELF, "landlock", ruleset, 0)
    finally:
        os.close(ruleset)
    return True


def overwrite(address: int, size_bytes: int, text: bytes) -> None:
    """Replace memory of this process by `text` and zeros."""
    c_types.memmove(address, text[: size_bytes - 1].ljust(size_bytes, b"\0"), size_bytes)


def drop_bounding(keep: frozenset[str]) -> None:
    """Drop every capability but `keep` from the bounding set; needs CAP_SETPCAP."""
    for number in range(64):
        name = CAPABILITIES[number] if number < len(CAPABILITIES) else ""
        if name in keep:
            continue
        try:
            prctl(PR_CAPBSET_DROP, number)
        except OSError:
            break  # beyond the last capability of this kernel


def set_capabilities(keep: frozenset[str]) -> None:
    """Make permitted and effective exactly `keep`, inheritable and ambient empty."""
    mask = sum(1 << CAPABILITIES.index(name) for name in keep)
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = struct.pack("<Ii", CAPABILITY_VERSION_3, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = struct.pack("<IIIIII", low, low, 0, high, high, 0)
    if "capset" in _OLD:
        _call(_OLD["capset"], "capset", header, data)


def install_filter(program: bytes, flags: int = 0) -> int:
    """Put this thread, and what it starts, under a seccomp filter (struct sock_filter as
    tiffin.builder.sandbox.child.bpf assembles).

    Needs CAP_SYS_ADMIN or no_new_privs. Returns the listener, which the caller closes, with
    SECCOMP_FILTER_NEW_LISTENER; else 0. OSError: EBUSY where a listener is above already, EINVAL for an unknown flag.
    """
    if "seccomp" not in _OLD:
        raise OSError(38, os.strerror(38), "seccomp")
    buffer = c_types.create_string_buffer(program, len(program))
    descriptor = struct.pack("@HP", len(program) // 8, c_types.addressof(buffer))  # struct sock_fprog
    return _call(_OLD["seccomp"], "seccomp", SECCOMP_SET_MODE_FILTER, flags, descriptor)
