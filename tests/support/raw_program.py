"""Programs that make system calls and nothing else: for images that have no interpreter, and calls no shell makes."""

from __future__ import annotations

import platform
import struct
from collections.abc import Sequence

from tiffin.builder.sandbox.child.syscalls import NATIVE

Call = tuple[str, Sequence[int | bytes]]  # name and arguments; bytes stand for the address of a copy that ends in NUL
_ADDRESS = 0x400000
_HEADERS_BYTES = 64 + 56
_MACHINES = {"x86_64": 62, "aarch64": 183}  # EM_X86_64, EM_AARCH64
_MASK = (1 << 64) - 1


def raw_program(*calls: Call) -> bytes:
    """A static ELF program: makes `calls`, then exits with the errno of the last one, 0 if that succeeded."""
    encode = {"x86_64": _x86_64, "aarch64": _aarch64}[platform.machine()]
    data_at = _ADDRESS + _HEADERS_BYTES + len(encode(_numbered(calls, 0)[0]))
    numbers, data = _numbered(calls, data_at)
    body = encode(numbers) + data
    size = _HEADERS_BYTES + len(body)
    machine = _MACHINES[platform.machine()]
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = ident + struct.pack(
        "<HHIQQQIHHHHHH", 2, machine, 1, _ADDRESS + _HEADERS_BYTES, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack(
        "<IIQQQQQQ", 1, 7, 0, _ADDRESS, _ADDRESS, size, size, 0x1000
    )  # all of it readable, writable, executable
    return header + segment + body


def _numbered(calls: Sequence[Call], data_at: int) -> tuple[list[list[int]], bytes]:
    """Number and six arguments of each call, with texts replaced by their addresses; the texts."""
    data = b""
    result = []
    for name, arguments in calls:
        row = [NATIVE[name]]
        for argument in arguments:
            if isinstance(argument, bytes):
                row.append(data_at + len(data))
                data += argument + b"\0"
            else:
                row.append(argument & _MASK)
        result.append(row + [0] * (7 - len(row)))
    return result, data


def _x86_64(calls: Sequence[Sequence[int]]) -> bytes:
    moves = (
        b"\x48\xb8",
        b"\x48\xbf",
        b"\x48\xbe",
        b"\x48\xba",
        b"\x49\xba",
        b"\x49\xb8",
        b"\x49\xb9",
    )  # rax rdi rsi rdx r10 r8 r9
    code = b""
    for row in calls:
        code += b"".join(move + struct.pack("<Q", value) for move, value in zip(moves, row, strict=True)) + b"\x0f\x05"
    code += b"\x48\x89\xc7\x48\xf7\xdf"  # rdi = -rax
    code += b"\x31\xc9\x48\x85\xc0\x48\x0f\x49\xf9"  # but 0 if rax is not negative
    return code + b"\x48\xb8" + struct.pack("<Q", NATIVE["exit_group"]) + b"\x0f\x05"


def _aarch64(calls: Sequence[Sequence[int]]) -> bytes:
    words: list[int] = []
    for number, *arguments in calls:
        for register, value in ((8, number), *enumerate(arguments)):
            words += _load(register, value)
        words.append(0xD4000001)  # svc 0
    words += [0xF100001F, 0xDA80A7E0]  # cmp x0, 0; x0 = 0 if greater or equal, else -x0
    words += [*_load(8, NATIVE["exit_group"]), 0xD4000001]
    return struct.pack(f"<{len(words)}I", *words)


def _load(register: int, value: int) -> list[int]:
    """movz, and movk for each further 16 bits."""
    return [
        (0xF2800000 if part else 0xD2800000) | part << 21 | (value >> 16 * part & 0xFFFF) << 5 | register
        for part in range(4)
    ]
