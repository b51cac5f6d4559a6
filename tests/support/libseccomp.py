"""libseccomp as an oracle: compile a profile the way runc does."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Sequence

from tiffin.builder.sandbox.child import bpf
from tiffin.builder.sandbox.seccomp.profile import OPERATORS, Profile

TOKENS = {
    "SCMP_ARCH_X86_64": 0xC000003E,
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X32": 0x4000003E,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
    "SCMP_ARCH_ARM": 0x40000028,
}
SYSTEM_CALL_UNKNOWN = -1


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("index", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = (ctypes.c_uint32,)
    library.seccomp_release.argtypes = (ctypes.c_void_p,)
    library.seccomp_arch_add.argtypes = library.seccomp_arch_remove.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
    library.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Comparison),
    )
    library.seccomp_export_bpf.argtypes = (ctypes.c_void_p, ctypes.c_int)
    return library


def knows(abi: str, name: str) -> bool:
    """Whether libseccomp, older than our tables, has a call of that name there; pseudo numbers are negative."""
    return int(_library().seccomp_syscall_resolve_name_arch(TOKENS[abi], name.encode())) >= 0


def compile_profile(profile: Profile) -> bytes:
    """struct sock_filter of `profile`, without the answers of runc to calls that are too new."""
    library = _library()
    context = library.seccomp_init(profile.default)
    assert context
    try:
        library.seccomp_arch_remove(context, 0)  # the one this machine has
        for abi in profile.abis:
            assert library.seccomp_arch_add(context, TOKENS[abi]) in (0, -errno.EEXIST)
        for rule in profile.rules:
            if rule.action == profile.default:
                continue  # as runc: libseccomp takes no such rule
            comparisons = (_Comparison * max(1, len(rule.conditions)))()
            for number, item in enumerate(rule.conditions):
                operator = OPERATORS.index(item.operator) + 1
                comparisons[number] = _Comparison(item.index, operator, item.value, item.second)
            _add(library, context, rule.names, rule.action, len(rule.conditions), comparisons)
        return _exported(library, context)
    finally:
        library.seccomp_release(context)


def _add(
    library: ctypes.CDLL, context: int, names: Sequence[str], action: int, count: int, comparisons: object
) -> None:
    for name in names:
        number = int(library.seccomp_syscall_resolve_name(name.encode()))
        if number != SYSTEM_CALL_UNKNOWN:
            result = library.seccomp_rule_add_array(context, action, number, count, comparisons)
            assert result in (0, -errno.EEXIST), (name, os.strerror(-result))


def _exported(library: ctypes.CDLL, context: int) -> bytes:
    fd = os.memfd_create("bpf", os.MFD_CLOEXEC)
    try:
        assert library.seccomp_export_bpf(context, fd) == 0
        return os.pread(fd, 8 * bpf.MAX_INSTRUCTIONS, 0)
    finally:
        os.close(fd)
