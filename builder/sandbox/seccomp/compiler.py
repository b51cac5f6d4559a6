"""Turn a seccomp profile into a filter: a halving search over ranges of numbers for each ABI, then conditions.

Meaning follows libseccomp and runc: a rule without conditions decides its call alone, the first of several; else the
first rule whose conditions hold; else the default. A call newer than all that the profile knows is ENOSYS where the
default is another errno, so that programs fall back to older calls instead of giving up.
"""

from __future__ import annotations

import errno

from tiffin.builder.sandbox.child import bpf
from tiffin.builder.sandbox.child.syscalls import X32_BIT
from tiffin.builder.sandbox.seccomp.profile import Condition, Profile, Rule
from tiffin.builder.sandbox.seccomp.syscalls_compat import ABIS, Abi

# arguments the kernel takes as int: it never sees their upper half, and so neither must a comparison
WORD_ARGUMENTS = {"socket": (0, 1, 2), "socketpair": (0, 1, 2), "personality": (0,)}
_WORD = 0xFFFFFFFF
ORDINARY = 512  # calls are numbered below; above are those of x32 and ARM alone
_ENOSYS = bpf.errno_action(errno.ENOSYS)
_NOT_MINE = bpf.RET_KILL_PROCESS  # an ABI the profile does not name
_Chain = tuple[tuple[tuple[Condition, ...], int, tuple[int, ...]], ...]  # conditions, action, arguments of one word


def build_filter(profile: Profile) -> bytes:
    """Return the filter as struct sock_filter; ValueError if the kernel would find it too long."""
    return _Builder(profile).build()


class _Builder:
    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._program = bpf.Program()
        self._answers: set[int] = set()
        self._chains: dict[_Chain, str] = {}

    def build(self) -> bytes:
        program = self._program
        by_audit: dict[int, list[Abi]] = {}
        for name in self._profile.abis:
            by_audit.setdefault(ABIS[name].audit, []).append(ABIS[name])
        program.load(bpf.ARCH)
        program.dispatch({audit: f"abi {audit}" for audit in by_audit}, self._answer(_NOT_MINE))
        for audit, abis in by_audit.items():
            program.label(f"abi {audit}")
            program.load(bpf.NUMBER)
            self._search(self._ranges(abis))
        for chain, label in self._chains.items():
            program.label(label)
            self._chain(chain)
        for action in sorted(self._answers):
            program.label(_label(action))
            program.answer(action)
        return program.assemble()

    def _answer(self, action: int) -> str:
        self._answers.add(action)
        return _label(action)

    def _ranges(self, abis: list[Abi]) -> list[tuple[int, str]]:
        """Return the first number of each range and where it goes, over all numbers; x32 lies above x86-64."""
        ranges: list[tuple[int, str]] = []
        for bit in (0, X32_BIT):
            abi = next((abi for abi in abis if abi.bit == bit), None)
            if abi is not None:
                ranges += self._ranges_of(abi)
            elif any(other.audit == ABIS["SCMP_ARCH_X86_64"].audit for other in abis):
                ranges.append((bit, self._answer(_NOT_MINE)))
        merged: list[tuple[int, str]] = []
        for start, target in ranges:
            if not merged or merged[-1][1] != target:
                merged.append((start, target))
        return merged

    def _ranges_of(self, abi: Abi) -> list[tuple[int, str]]:
        profile = self._profile
        calls: dict[int, tuple[str, list[Rule]]] = {}
        for rule in profile.rules:
            for name in rule.names:
                number = abi.numbers.get(name)
                if number is not None:
                    calls.setdefault(number, (name, []))[1].append(rule)
        default = self._answer(profile.default)
        too_new = default
        if profile.default & ~bpf.RET_DATA == bpf.RET_ERRNO and profile.default != _ENOSYS:
            too_new = self._answer(_ENOSYS)
        newest = max((number for number in calls if number - abi.bit < ORDINARY), default=ORDINARY)
        ranges = [(abi.bit, default)]
        own = {number for number in abi.numbers.values() if number - abi.bit >= ORDINARY}
        for number in sorted(calls.keys() | own):
            if ranges[-1][0] == number:
                ranges.pop()
            target = self._target(*calls[number]) if number in calls else default
            ranges += [(number, target), (number + 1, default if number < newest else too_new)]
        return ranges

    def _target(self, name: str, rules: list[Rule]) -> str:
        for rule in rules:
            if not rule.conditions:
                return self._answer(rule.action)
        words = WORD_ARGUMENTS.get(name, ())
        chain = tuple((rule.conditions, rule.action, words) for rule in rules)
        for rule in rules:
            self._answer(rule.action)
        return self._chains.setdefault(chain, f"conditions {len(self._chains)}")

    def _search(self, ranges: list[tuple[int, str]]) -> None:
        """Go to the range of the number in the accumulator."""
        if len(ranges) == 1:
            self._program.jump(ranges[0][1])
            return
        middle = len(ranges) // 2
        if len(ranges) == 2:
            self._program.if_greater_equal(ranges[1][0], then=ranges[1][1])
            self._program.jump(ranges[0][1])
            return
        upper = self._program.fresh_label()
        self._program.if_greater_equal(ranges[middle][0], then=upper)
        self._search(ranges[:middle])
        self._program.label(upper)
        self._search(ranges[middle:])

    def _chain(self, chain: _Chain) -> None:
        program = self._program
        for conditions, action, words in chain:
            following = program.fresh_label()
            for condition in conditions:
                self._check(condition, following, one_word=condition.index in words)
            program.jump(_label(action))
            program.label(following)
        program.jump(_label(self._profile.default))

    def _check(self, condition: Condition, failed: str, *, one_word: bool) -> None:
        """Go on if `condition` holds, else to `failed`."""
        program = self._program
        low, high = bpf.argument(condition.index), bpf.argument(condition.index, high=True)
        value, value_high = condition.value & _WORD, condition.value >> 32
        holds = program.fresh_label()
        if condition.operator == "MASKED_EQ":
            halves = [(low, value, condition.second & _WORD), (high, value_high, condition.second >> 32)]
            for offset, mask, wanted in halves[: 1 if one_word else 2]:
                if mask or wanted:
                    program.load(offset)
                    program.mask(mask)
                    program.if_equal(wanted, otherwise=failed)
            return
        yes, no = (holds, failed) if condition.operator in ("EQ", "GT", "GE") else (failed, holds)
        if not one_word:
            program.load(high)
            if condition.operator in ("EQ", "NE"):
                program.if_equal(value_high, otherwise=no)
            else:
                program.if_greater(value_high, then=yes)
                program.if_equal(value_high, otherwise=no)
        program.load(low)
        match condition.operator:
            case "EQ" | "NE":
                program.if_equal(value, then=yes, otherwise=no)
            case "GT" | "LE":
                program.if_greater(value, then=yes, otherwise=no)
            case _:  # GE, LT
                program.if_greater_equal(value, then=yes, otherwise=no)
        program.label(holds)


def _label(action: int) -> str:
    return f"answer {action}"
