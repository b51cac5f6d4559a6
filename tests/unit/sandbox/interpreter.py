"""An interpreter of classic BPF, as seccomp uses it."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable


@functools.lru_cache(maxsize=8)
def decoded(program: bytes) -> list[tuple[int, ...]]:
    return [struct.unpack_from("=HBBI", program, offset) for offset in range(0, len(program), 8)]


def run(program: bytes, data: bytes) -> int:
    """What the kernel would answer."""
    code = decoded(program)
    accumulator = here = 0
    tests: dict[int, Callable[[int], bool]] = {
        0x15: lambda k: accumulator == k,
        0x25: lambda k: accumulator > k,
        0x35: lambda k: accumulator >= k,
        0x45: lambda k: bool(accumulator & k),
    }
    while True:
        operation, then, otherwise, k = code[here]
        here += 1
        if operation == 0x20:
            accumulator = struct.unpack_from("<I", data, k)[0]
        elif operation == 0x54:
            accumulator &= k
        elif operation == 0x06:
            return k
        elif operation == 0x05:
            here += k
        else:
            here += then if tests[operation](k) else otherwise


def call(number: int, *arguments: int, arch: int = 0) -> bytes:
    return struct.pack("<IIQ6Q", number, arch, 0, *(arguments + (0,) * 6)[:6])
