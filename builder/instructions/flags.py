"""The flags of an instruction, `--name[=value]`, checked against what it takes."""

from __future__ import annotations

from collections.abc import Collection

from tiffin.builder.dockerfile.parser import Instruction
from tiffin.builder.dockerfile.suggest import did_you_mean
from tiffin.builder.errors import DockerfileError

_BOOLEANS = {"true": True, "false": False}


class Flags:
    """The flags given to one instruction."""

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}
        self._switches: dict[str, bool] = {}

    def add(self, name: str, value: str) -> None:
        self._values.setdefault(name, []).append(value)

    def switch(self, name: str, value: bool) -> None:
        self._switches[name] = value

    def text(self, name: str) -> str:
        """Return the value of a flag that is given at most once, "" without it."""
        return self._values.get(name, [""])[0]

    def all(self, name: str) -> tuple[str, ...]:
        """Return the values of a flag that may be repeated."""
        return tuple(self._values.get(name, ()))

    def is_on(self, name: str) -> bool | None:
        """Whether a switch is on; None when it is not given."""
        return self._switches.get(name)

    def __bool__(self) -> bool:
        return bool(self._values or self._switches)

    def __contains__(self, name: object) -> bool:
        return name in self._values or name in self._switches


NONE = Flags()


def flags_of(
    node: Instruction,
    *,
    texts: Collection[str] = (),
    lists: Collection[str] = (),
    switches: Collection[str] = (),
) -> Flags:
    """Return the flags of `node`: `texts` at most once, `lists` any number of times, `switches` with or without
    true/false.

    An empty value is as if the flag was not given.

    Raises DockerfileError at the node's span.
    """
    if not node.flags:
        return NONE
    known = (*texts, *lists, *switches)
    result = Flags()
    for flag in node.flags:
        name = f"--{flag.name}"
        if flag.name not in known:
            raise DockerfileError(
                f"unknown flag for {node.keyword}: {name}",
                span=node.span,
                remedy=did_you_mean(name, [f"--{item}" for item in known])
                or f"{node.keyword} takes {', '.join(f'--{item}' for item in known) or 'no flags'}",
            )
        if flag.name in result and flag.name not in lists:
            raise DockerfileError(f"{node.keyword} {name} is given twice", span=node.span, remedy="keep one of them")
        if flag.name in switches:
            value = "true" if flag.value is None else flag.value.lower()
            if value not in _BOOLEANS:
                raise DockerfileError(
                    f'{node.keyword} {name}="{flag.value}" is neither true nor false',
                    span=node.span,
                    remedy=f"write {name}, {name}=true or {name}=false",
                )
            result.switch(flag.name, _BOOLEANS[value])
        elif flag.value is None:
            raise DockerfileError(f"{node.keyword} {name} needs a value", span=node.span, remedy=f"write {name}=VALUE")
        elif flag.value:
            result.add(flag.name, flag.value)
    return result
