"""Which system calls a supervisor is asked about: the seccomp filters of a sandbox that has one id, and of one with a
range.

Only what must be: a call that is not listed costs nothing (the kernel remembers filters' constant answers). Calls of
another ABI than the machine's own go to the kernel as they are; x32, which nobody ships, does not exist here.
"""

from __future__ import annotations

import errno
import os

from tiffin.builder.owner_xattrs import NO_ID
from tiffin.builder.sandbox.child import bpf, syscalls
from tiffin.builder.sandbox.child.emulation.process import RLIMIT_LOCKS

# asked about whatever their arguments
ALWAYS = (
    "chown", "lchown", "fchown", "fchownat",
    "stat", "lstat", "fstat", "newfstatat", "statx",
    "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups",
    "getuid", "getgid", "geteuid", "getegid", "getresuid", "getresgid", "getgroups", "capget", "capset",
    "mkdir", "mkdirat", "symlink", "symlinkat", "mknod", "mknodat", "creat", "openat2",
    "execve", "execveat", "chroot", "pivot_root", "setns", "listxattr", "llistxattr", "flistxattr",
)  # fmt: skip
# what else changes something, and may be refused to an emulated user
CHANGES = (
    "unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2", "link", "linkat", "chmod", "fchmodat",
    "fchmodat2",
    "utime", "utimes", "futimesat", "utimensat", "truncate", "bind", "setxattr", "lsetxattr", "removexattr",
    "lremovexattr",
)  # fmt: skip
# and what only looks, or changes what is open already, as whoever unpacks archives does for each file; many of these
# are in
# any program, so they are asked about where users are expected
LOOKS = (
    "access", "faccessat", "faccessat2", "chdir", "fchdir", "connect", "getxattr", "lgetxattr", "fgetxattr",
    "kill", "tkill", "tgkill", "fchmod", "fsetxattr", "fremovexattr",
)  # fmt: skip
# which arguments are uids, and which gids
IDS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "chown": ((1,), (2,)), "lchown": ((1,), (2,)), "fchown": ((1,), (2,)), "fchownat": ((2,), (3,)),
    "setuid": ((0,), ()), "setreuid": ((0, 1), ()), "setresuid": ((0, 1, 2), ()), "setfsuid": ((0,), ()),
    "setgid": ((), (0,)), "setregid": ((), (0, 1)), "setresgid": ((), (0, 1, 2)), "setfsgid": ((), (0,)),
}  # fmt: skip
OPENS = {"open": 1, "openat": 2}  # by the argument that has the flags
TMPFILE = 0o20000000 | 0o200000  # O_TMPFILE, whose second bit is O_DIRECTORY on x86
CREATING = 0o100 | 0o20000000  # O_CREAT, __O_TMPFILE (asm-generic/fcntl.h; x86 and arm64 agree)
CHANGING = CREATING | 0o3 | 0o1000  # O_ACCMODE but O_RDONLY, O_TRUNC
CLONE_NEWNS = 0x00020000
PR_GET_KEEPCAPS, PR_SET_KEEPCAPS, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 7, 8, 24, 38, 47
PR_SET_DUMPABLE = 4
SOL_SOCKET, SO_PEERCRED = 1, 17
# what bypasses the filter, or hides its arguments from it; programs fall back to older calls
ABSENT = (
    "io_uring_setup", "io_uring_enter", "io_uring_register", "clone3",
    "listxattrat", "setxattrat", "getxattrat", "removexattrat", "file_setattr",
)  # fmt: skip


def asked(*, looks: bool) -> frozenset[str]:
    """Return the calls about files and processes that the filter asks about."""
    return frozenset((*ALWAYS, *CHANGES, *OPENS, *(LOOKS if looks else ())))


def owner_filter(machine: str = os.uname().machine, *, looks: bool = False, opens: bool = False) -> bytes:
    """Return the filter that asks a supervisor about everything to do with owners and credentials.

    And about what may be refused to an emulated user: changes, and with `looks` also whatever only reads or asks.
    `opens`: about every open, for the sake of device nodes.
    """
    opens = opens or looks
    program = _native(machine)
    targets = dict.fromkeys(asked(looks=looks), "ask") | dict.fromkeys(ABSENT, "absent")
    targets |= {name: name for name in ("prctl", "unshare", "clone", "setrlimit", "prlimit64", "getsockopt")}
    if not opens:
        targets |= {name: name for name in OPENS}
    if not looks:
        targets["utimensat"] = "utimensat"
    _dispatch(program, machine, targets)
    if not opens:
        for name, position in OPENS.items():
            _when_bits(program, name, position, CHANGING)
    if not looks:
        program.label("utimensat")
        for high in (False, True):
            program.load(bpf.argument(1, high=high))
            program.if_equal(0, otherwise="ask")
        program.jump("allow")  # without a path: what is open
    for name in ("unshare", "clone"):
        _when_bits(program, name, 0, CLONE_NEWNS)
    _look_at_prctl(program)
    _keep_hands_off_the_limit(program)
    program.label("getsockopt")
    program.load(bpf.argument(1))
    program.if_equal(SOL_SOCKET, otherwise="allow")
    program.load(bpf.argument(2))
    program.if_equal(SO_PEERCRED, then="ask", otherwise="allow")
    return _answers(program)


def boundary_filter(limits: tuple[int, int], machine: str = os.uname().machine, *, opens: bool = False) -> bytes:
    """Return the filter for true owners: it asks about what the namespace lacks, device nodes and ids from the `limits`
    on.

    `opens`: about every open, too, where files stand for devices.
    """
    program = _native(machine)
    asked = {name: name for name in ("mknod", "mknodat")}
    if min(limits) < NO_ID:
        asked |= {name: name for name in IDS} | {"setgroups": "ask"}
    if opens:
        asked |= dict.fromkeys((*OPENS, "creat", "openat2"), "ask")
        asked |= dict.fromkeys(("io_uring_setup", "io_uring_enter", "io_uring_register"), "absent")
    _dispatch(program, machine, asked)
    for name, position in (("mknod", 1), ("mknodat", 2)):
        program.label(name)
        program.load(bpf.argument(position))
        program.mask(0o170000)
        program.if_equal(0o020000, then="ask")
        program.if_equal(0o060000, then="ask", otherwise="allow")
    for name in IDS if "setgroups" in asked else ():
        _when_beyond(program, name, limits)
    return _answers(program)


def is_invalid(flags: int) -> bool:
    """Whether open(2) refuses these flags whatever the path: a file without a name that nobody could write."""
    return bool(flags & TMPFILE & CREATING) and (flags & TMPFILE != TMPFILE or not flags & 0o3)


def _when_beyond(program: bpf.Program, name: str, limits: tuple[int, int]) -> None:
    program.label(name)
    for kind, positions in enumerate(IDS[name]):
        for position in positions:
            after = program.fresh_label()
            program.load(bpf.argument(position))
            program.if_equal(NO_ID, then=after)
            program.if_greater_equal(limits[kind], then="ask")
            program.label(after)
    program.jump("allow")


def _native(machine: str) -> bpf.Program:
    program = bpf.Program()
    program.load(bpf.ARCH)
    program.if_equal(syscalls.AUDIT_ARCHES[machine], otherwise="allow")
    program.load(bpf.NUMBER)
    if machine == "x86_64":
        program.if_greater_equal(syscalls.X32_BIT, then="absent")
    return program


def _dispatch(program: bpf.Program, machine: str, targets: dict[str, str]) -> None:
    numbers = syscalls.TABLES[machine]
    program.dispatch({numbers[name]: to for name, to in targets.items() if name in numbers}, "allow")


def _when_bits(program: bpf.Program, name: str, position: int, bits: int) -> None:
    program.label(name)
    program.load(bpf.argument(position))
    program.if_any_bit(bits, then="ask", otherwise="allow")


def _look_at_prctl(program: bpf.Program) -> None:
    """Answer PR_SET_DUMPABLE without doing it: a process that is not dumpable could not be answered."""
    program.label("prctl")
    program.load(bpf.argument(0))
    for option in (PR_GET_KEEPCAPS, PR_SET_KEEPCAPS, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT):
        program.if_equal(option, then="ask")
    program.if_equal(PR_SET_DUMPABLE, then="done", otherwise="allow")


def _keep_hands_off_the_limit(program: bpf.Program) -> None:
    """Pretend to set the limit that says who a process is (see process.py)."""
    program.label("setrlimit")
    program.load(bpf.argument(0))
    program.if_equal(RLIMIT_LOCKS, then="done", otherwise="allow")
    program.label("prlimit64")
    program.load(bpf.argument(1))
    program.if_equal(RLIMIT_LOCKS, otherwise="allow")
    for high in (False, True):
        program.load(bpf.argument(2, high=high))
        program.if_equal(0, otherwise="done")
    program.jump("allow")


def _answers(program: bpf.Program) -> bytes:
    for label, action in (
        ("ask", bpf.RET_USER_NOTIF),
        ("absent", bpf.errno_action(errno.ENOSYS)),
        ("done", bpf.errno_action(0)),
        ("allow", bpf.RET_ALLOW),
    ):
        program.label(label)
        program.answer(action)
    return program.assemble()
