"""Read a seccomp profile: the JSON of the OCI runtime specification (config-linux.md#seccomp), with what Docker adds.

Docker adds `archMap`, `includes` and `excludes`. What a profile says is checked to the end before any of it is used.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from tiffin.builder.errors import UsageError
from tiffin.builder.sandbox.child import bpf
from tiffin.builder.sandbox.child.kernel import SECCOMP_FILTER_LOG, SECCOMP_FILTER_SPEC_ALLOW
from tiffin.builder.sandbox.seccomp.syscalls_compat import ABIS, DOCKER_NAMES, NATIVE
from tiffin.cache.foundation.frozen import dataclass

ACTIONS = {
    "SCMP_ACT_KILL": bpf.RET_KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": bpf.RET_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": bpf.RET_KILL_PROCESS,
    "SCMP_ACT_TRAP": bpf.RET_TRAP,
    "SCMP_ACT_ERRNO": bpf.RET_ERRNO,
    "SCMP_ACT_TRACE": bpf.RET_TRACE,
    "SCMP_ACT_ALLOW": bpf.RET_ALLOW,
    "SCMP_ACT_LOG": bpf.RET_LOG,
}
WITH_ERRNO = (bpf.RET_ERRNO, bpf.RET_TRACE)
OPERATORS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,  # the command has one thread when it gets the filter
    "SECCOMP_FILTER_FLAG_LOG": SECCOMP_FILTER_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": SECCOMP_FILTER_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 0,  # of listeners, which a profile cannot have here
}
MAX_ARGUMENTS = 6
_UNSIGNED_64, _UNSIGNED_16 = (1 << 64) - 1, bpf.RET_DATA
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What argument `index` has to be. For MASKED_EQ `value` is the mask and `second` what is left under it."""

    index: int
    operator: str
    value: int
    second: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is answered to the calls `names` when all conditions hold."""

    names: tuple[str, ...]
    action: int
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A profile as it applies to one sandbox on one machine. `abis` are names in ABIS, the native one first."""

    default: int
    abis: tuple[str, ...]
    rules: tuple[Rule, ...]
    flags: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What `includes` and `excludes` ask for: capabilities without CAP_, the kernel's version, uname's machine."""

    capabilities: frozenset[str]
    kernel: tuple[int, int]
    machine: str


def read_profile(data: bytes, situation: Situation, name: str) -> Profile:
    """Return the profile `data`, called `name` in errors. UsageError: what is wrong, and where."""
    try:
        document = json.loads(data)
    except ValueError as exc:
        raise UsageError(
            f"the seccomp profile {name} is not valid JSON: {exc}", remedy="give a profile as Docker has it"
        ) from exc
    reader = _Reader(name)
    top = reader.mapping(document, "")
    if reader.get(top, "listenerPath", str, "") or reader.get(top, "listenerMetadata", str, ""):
        raise reader.fault("listenerPath", "is not supported: tiffin runs no seccomp agent")
    default = reader.action(top, "defaultAction", "defaultErrnoRet", "")
    rules: list[Rule] = []
    for number, item in enumerate(reader.get(top, "syscalls", list, [])):
        rules += reader.rules(item, f"syscalls[{number}]", situation)
    return Profile(default=default, abis=reader.abis(top, situation), rules=tuple(rules), flags=reader.flags(top))


class _Reader:
    """Typed access to the document; every error names the place."""

    def __init__(self, name: str) -> None:
        self._name = name

    def fault(self, place: str, what: str) -> UsageError:
        return UsageError(f"seccomp profile {self._name}: {place or 'it'} {what}", remedy="correct the profile")

    def mapping(self, value: object, place: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self.fault(place, "is not an object")
        return value

    def get(self, item: Mapping[str, Any], key: str, kind: type[_T], default: _T | None, place: str = "") -> _T:
        """Return a member of one type; without a default it has to be there. null is as if it were not."""
        value = item.get(key)
        where = f"{place}.{key}" if place else key
        if value is None:
            if default is None:
                raise self.fault(where, "is missing")
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.fault(where, f"is {value!r}, not {_KINDS[kind]}")
        return value

    def texts(self, item: Mapping[str, Any], key: str, place: str = "") -> Sequence[str]:
        values: list[object] = self.get(item, key, list, [], place)
        if not all(isinstance(value, str) for value in values):
            raise self.fault(f"{place}.{key}", "is not a list of strings")
        return [str(value) for value in values]

    def number(self, item: Mapping[str, Any], key: str, limit: int, default: int | None, place: str) -> int:
        value = self.get(item, key, int, default, place)
        if not 0 <= value <= limit:
            raise self.fault(f"{place}.{key}".lstrip("."), f"is {value}, not 0 to {limit}")
        return value

    def action(self, item: Mapping[str, Any], key: str, errno_key: str, place: str) -> int:
        """Return an action with its errno, EPERM where none is given."""
        name = self.get(item, key, str, None, place)
        where = f"{place}.{key}".lstrip(".")
        if name == "SCMP_ACT_NOTIFY":
            raise self.fault(where, "is SCMP_ACT_NOTIFY, which needs a seccomp agent, and tiffin runs none")
        if name not in ACTIONS:
            raise self.fault(where, f'is "{name}", not one of {", ".join(ACTIONS)}')
        action = ACTIONS[name]
        number = self.number(item, errno_key, _UNSIGNED_16, errno.EPERM, place)
        return action | number if action in WITH_ERRNO else action

    def abis(self, top: Mapping[str, Any], situation: Situation) -> tuple[str, ...]:
        """Return the native ABI, and what `architectures` names or `archMap` has beside it; names unknown here cannot
        occur.
        """
        native = NATIVE[situation.machine]
        others: list[str] = list(self.texts(top, "architectures"))
        for number, entry in enumerate(self.get(top, "archMap", list, [])):
            place = f"archMap[{number}]"
            item = self.mapping(entry, place)
            if self.get(item, "architecture", str, None, place) == native:
                others += self.texts(item, "subArchitectures", place)
        return tuple(dict.fromkeys((native, *(name for name in others if name in ABIS))))

    def flags(self, top: Mapping[str, Any]) -> int:
        """Return the flags; without the member, speculation is as elsewhere, as runc has it."""
        if top.get("flags") is None:
            return SECCOMP_FILTER_SPEC_ALLOW
        result = 0
        for name in self.texts(top, "flags"):
            if name not in FLAGS:
                raise self.fault("flags", f'has "{name}", not one of {", ".join(FLAGS)}')
            result |= FLAGS[name]
        return result

    def rules(self, entry: object, place: str, situation: Situation) -> list[Rule]:
        """Return one member of `syscalls`: no rule when it is not for this situation, several when its conditions are
        an or.
        """
        item = self.mapping(entry, place)
        names = [*self.texts(item, "names", place), self.get(item, "name", str, "", place)]
        action = self.action(item, "action", "errnoRet", place)
        conditions = [
            self.condition(value, f"{place}.args[{number}]")
            for number, value in enumerate(self.get(item, "args", list, [], place))
        ]
        wanted = self.applies(item, place, situation)
        names = [name for name in names if name]
        if not names:
            raise self.fault(f"{place}.names", "is empty")
        if not wanted:
            return []
        indexes = [condition.index for condition in conditions]
        # runc: several conditions on one argument are alternatives
        sets = [(condition,) for condition in conditions] if len(set(indexes)) < len(indexes) else [tuple(conditions)]
        return [Rule(names=tuple(names), action=action, conditions=chosen) for chosen in sets]

    def condition(self, entry: object, place: str) -> Condition:
        item = self.mapping(entry, place)
        operator = self.get(item, "op", str, None, place).removeprefix("SCMP_CMP_")
        if operator not in OPERATORS:
            raise self.fault(f"{place}.op", f"is not one of {', '.join(f'SCMP_CMP_{name}' for name in OPERATORS)}")
        return Condition(
            index=self.number(item, "index", MAX_ARGUMENTS - 1, None, place),
            operator=operator,
            value=self.number(item, "value", _UNSIGNED_64, None, place),
            second=self.number(item, "valueTwo", _UNSIGNED_64, 0, place),
        )

    def applies(self, item: Mapping[str, Any], place: str, situation: Situation) -> bool:
        """Whether Docker's rule holds: every condition of `includes`, and none of `excludes`."""
        include, exclude = (self.mapping(item.get(key) or {}, f"{place}.{key}") for key in ("includes", "excludes"))
        machine = DOCKER_NAMES[situation.machine]
        wanted = True
        for filters, where, negative in ((include, f"{place}.includes", False), (exclude, f"{place}.excludes", True)):
            names = [name.upper().removeprefix("CAP_") for name in self.texts(filters, "caps", where)]
            held = [name in situation.capabilities for name in names]
            arches = self.texts(filters, "arches", where)
            kernel = self.kernel(filters, where)
            if negative:
                if any(held) or machine in arches or (kernel and situation.kernel >= kernel):
                    wanted = False
            elif not all(held) or (arches and machine not in arches) or (kernel and situation.kernel < kernel):
                wanted = False
        return wanted

    def kernel(self, filters: Mapping[str, Any], place: str) -> tuple[int, int] | None:
        text = self.get(filters, "minKernel", str, "", place)
        if not text:
            return None
        major, _, minor = text.partition(".")
        if not (major.isdigit() and minor.isdigit()):
            raise self.fault(f"{place}.minKernel", f'is "{text}", not a version such as 4.8')
        return int(major), int(minor)


_KINDS: Mapping[type, str] = {str: "a string", int: "a number", list: "a list", dict: "an object"}
