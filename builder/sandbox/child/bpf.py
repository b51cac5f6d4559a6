"""Assemble seccomp filters: classic BPF with labels. Knows no system call by name.

A program is built front to back; every jump goes forward, to a label that is placed later (the kernel allows no other).
Conditional jumps of BPF reach 255 instructions: farther ones get an unconditional jump to take them on.
"""

from __future__ import annotations

import struct

MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
# what a filter answers (linux/seccomp.h); of several filters the lowest action, taken as signed, wins
RET_KILL_PROCESS, RET_KILL_THREAD, RET_TRAP, RET_ERRNO = 0x80000000, 0x00000000, 0x00030000, 0x00050000
RET_USER_NOTIF, RET_TRACE, RET_LOG, RET_ALLOW = 0x7FC00000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000
RET_DATA = 0xFFFF  # the bits of an action that carry an errno
# offsets in struct seccomp_data; arguments are 64 bits, read as two words
NUMBER, ARCH, INSTRUCTION_POINTER, ARGUMENTS = 0, 4, 8, 16

_LOAD, _AND, _RETURN, _JUMP = 0x20, 0x54, 0x06, 0x05  # LD|W|ABS, ALU|AND|K, RET|K, JMP|JA
_EQUAL, _GREATER, _GREATER_EQUAL, _ANY_BIT = 0x15, 0x25, 0x35, 0x45  # JMP|JEQ, JGT, JGE, JSET, all with K
_WORD = 0xFFFFFFFF
_REACH = 255
_Instruction = tuple[int, int, str | None, str | None]  # code, k, labels to go to (None: the next instruction)


def argument(number: int, *, high: bool = False) -> int:
    """Return the offset of a word of argument `number` (from 0) on a little-endian machine."""
    return ARGUMENTS + 8 * number + (4 if high else 0)


def errno_action(number: int) -> int:
    """Return the action that refuses a call with `errno`; 0 makes it a success that did nothing."""
    return RET_ERRNO | number & RET_DATA


class Program:
    """A filter in the making. `None` for a target means the instruction that follows."""

    def __init__(self) -> None:
        self._code: list[_Instruction] = []
        self._labels: dict[str, int] = {}
        self._fresh = 0

    def label(self, name: str) -> None:
        """Place `name` here: jumps to it go to the instruction that follows."""
        if name in self._labels:
            raise ValueError(f"the label {name} is placed twice")
        self._labels[name] = len(self._code)

    def fresh_label(self) -> str:
        """Return a name for a label that no other has."""
        self._fresh += 1
        return f" {self._fresh}"

    def load(self, offset: int) -> None:
        """Put a word of struct seccomp_data into the accumulator."""
        self._code.append((_LOAD, offset, None, None))

    def mask(self, bits: int) -> None:
        """Keep only `bits` of the accumulator."""
        self._code.append((_AND, bits & _WORD, None, None))

    def jump(self, target: str) -> None:
        self._code.append((_JUMP, 0, target, None))

    def if_equal(self, value: int, then: str | None = None, otherwise: str | None = None) -> None:
        self._code.append((_EQUAL, value & _WORD, then, otherwise))

    def if_greater(self, value: int, then: str | None = None, otherwise: str | None = None) -> None:
        """Jump where the accumulator, unsigned, is greater."""
        self._code.append((_GREATER, value & _WORD, then, otherwise))

    def if_greater_equal(self, value: int, then: str | None = None, otherwise: str | None = None) -> None:
        """Jump where the accumulator, unsigned, is greater or equal."""
        self._code.append((_GREATER_EQUAL, value & _WORD, then, otherwise))

    def if_any_bit(self, bits: int, then: str | None = None, otherwise: str | None = None) -> None:
        self._code.append((_ANY_BIT, bits & _WORD, then, otherwise))

    def answer(self, action: int) -> None:
        """End with `action`, one of RET_*."""
        self._code.append((_RETURN, action & _WORD, None, None))

    def dispatch(self, targets: dict[int, str], default: str) -> None:
        """Go to the target of the value in the accumulator by halving: a few comparisons however many values."""
        self._search(sorted(targets.items()), default)

    def _search(self, pairs: list[tuple[int, str]], default: str) -> None:
        if len(pairs) <= 2:
            for value, target in pairs:
                self.if_equal(value, then=target)
            self.jump(default)
            return
        middle = len(pairs) // 2
        upper = self.fresh_label()
        self.if_greater_equal(pairs[middle][0], then=upper)
        self._search(pairs[:middle], default)
        self.label(upper)
        self._search(pairs[middle:], default)

    def assemble(self) -> bytes:
        """Return the filter as an array of struct sock_filter.

        ValueError: a label is missing or behind, or it is too long.
        """
        for _, _, *targets in self._code:
            for target in targets:
                if target is not None and target not in self._labels:
                    raise ValueError(f"the label {target} is placed nowhere")
        if not self._code or self._code[-1][0] != _RETURN:
            raise ValueError("the filter does not end with an answer")
        places, far = self._layout()
        result = bytearray()
        for number, instruction in enumerate(self._code):
            result += self._encode(instruction, places, number, far[number])
        if len(result) > 8 * MAX_INSTRUCTIONS:
            raise ValueError(f"the filter has {len(result) // 8} instructions; the kernel takes {MAX_INSTRUCTIONS}")
        return bytes(result)

    def _layout(self) -> tuple[list[int], list[tuple[bool, bool]]]:
        """Return where each instruction comes to lie, and which targets of it are too far; grown until it fits."""
        far = [(False, False)] * len(self._code)
        while True:
            places = [0]
            for pair in far:
                places.append(places[-1] + 1 + sum(pair))
            grown = False
            for number, (code, _, *targets) in enumerate(self._code):
                if code == _JUMP:
                    continue
                reach = tuple(
                    was or (target is not None and places[self._labels[target]] - places[number] - 1 > _REACH)
                    for target, was in zip(targets, far[number], strict=True)
                )
                if reach != far[number]:
                    far[number] = (reach[0], reach[1])
                    grown = True
            if not grown:
                return places, far

    def _encode(self, instruction: _Instruction, places: list[int], number: int, far: tuple[bool, bool]) -> bytes:
        code, k, then, otherwise = instruction
        here = places[number]

        def distance(target: str | None, source: int) -> int:
            offset = (places[number + 1] if target is None else places[self._labels[target]]) - source - 1
            if offset < 0:
                raise ValueError(f"the label {target} is behind a jump to it")
            return offset

        if code == _JUMP:
            return struct.pack("=HBBI", code, 0, 0, distance(then, here))
        if code in (_LOAD, _AND, _RETURN):
            return struct.pack("=HBBI", code, 0, 0, k)
        # a far target is reached through a jump that follows: the one of `then` first
        offsets = [distance(then, here), distance(otherwise, here)]
        tail = b""
        follower = 0
        for index, target in enumerate((then, otherwise)):
            if far[index]:
                offsets[index] = follower
                follower += 1
                tail += struct.pack("=HBBI", _JUMP, 0, 0, distance(target, here + follower))
        return struct.pack("=HBBI", code, *offsets, k) + tail
