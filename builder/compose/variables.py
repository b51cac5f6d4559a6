"""Variables in compose files: $A, ${A}, ${A:-b}, ${A-b}, ${A:?why}, ${A?why}, ${A:+b}, ${A+b}, nested; $$ is a dollar.

And what a text is to become where a number or a switch belongs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tiffin.builder.compose.places import ITEM, Map, Override, Path, Place, Seq, matches, path_text, wrong

_NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")
_INTEGERS = (
    "cpu_count", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares", "deploy.replicas",
    "deploy.update_config.parallelism", "deploy.rollback_config.parallelism", "deploy.restart_policy.max_attempts",
    "deploy.placement.max_replicas_per_node", "healthcheck.retries", "oom_score_adj", "pids_limit", "ports.*.target",
    "scale", "ulimits.*", "ulimits.*.hard", "ulimits.*.soft",
)  # fmt: skip
_NUMBERS = (
    "cpu_percent", "cpus", "deploy.update_config.max_failure_ratio", "deploy.rollback_config.max_failure_ratio",
)  # fmt: skip
_SWITCHES = (
    "init", "depends_on.*.required", "depends_on.*.restart", "healthcheck.disable", "oom_kill_disable", "privileged",
    "read_only", "stdin_open", "tty", "volumes.*.read_only", "volumes.*.volume.nocopy",
)  # fmt: skip
_TOP_SWITCHES = (
    "networks.*.external", "networks.*.internal", "networks.*.attachable", "networks.*.enable_ipv4",
    "networks.*.enable_ipv6", "volumes.*.external", "secrets.*.external", "configs.*.external",
)  # fmt: skip
_BOOLEANS = {
    **dict.fromkeys(("true", "y", "yes", "on"), True),
    **dict.fromkeys(("false", "n", "no", "off"), False),
}


class Substitution:
    """Fills in variables; `warn` is told of those that are not set."""

    def __init__(self, values: Mapping[str, str], warn: Callable[[str], None] = lambda _: None) -> None:
        self._values = values
        self._warn = warn
        self._warned: set[str] = set()

    def apply(self, value: Any, path: Path = (), place: Place | None = None) -> Any:
        """Return a value with the variables of all its texts filled in, keys left as they are. Raises ComposeError."""
        if isinstance(value, Map):
            return Map((key, self.apply(item, (*path, key), at), at) for key, item, at in value.entries())
        if isinstance(value, Seq):
            return Seq((self.apply(item, (*path, ITEM), at), at) for item, at in value.entries())
        if isinstance(value, Override):
            return Override(self.apply(value.value, path, place))
        if not isinstance(value, str):
            return value
        try:
            text = self.fill(value)
            return cast(text, path)
        except ValueError as exc:
            raise wrong(
                f"{path_text(path)}: {exc}", place, remedy="set the variable, or write $$ for a dollar"
            ) from exc

    def fill(self, text: str) -> str:
        """Return a text with its variables filled in. Raises ValueError."""
        if "$" not in text:
            return text
        result: list[str] = []
        position = 0
        while (dollar := text.find("$", position)) >= 0:
            result.append(text[position:dollar])
            filled, position = self._variable(text, dollar)
            result.append(filled)
        return "".join(result) + text[position:]

    def _variable(self, text: str, dollar: int) -> tuple[str, int]:
        """Return what stands for the variable at a dollar, and where the text goes on."""
        if text.startswith("$", dollar + 1):
            return "$", dollar + 2
        if name := _NAME.match(text, dollar + 1):
            return self._value(name[0]), name.end()
        if not text.startswith("{", dollar + 1):
            return "$", dollar + 1
        end = _closing(text, dollar + 1)
        if end < 0:
            raise ValueError(f'"{text}" has ${{ without }}')
        return self._braced(text[dollar + 2 : end], text), end + 1

    def _braced(self, inside: str, text: str) -> str:
        name = _NAME.match(inside)
        if name is None:
            raise ValueError(f'"{text}" has ${{ without the name of a variable')
        rest = inside[name.end() :]
        if not rest:
            return self._value(name[0])
        operator = next((item for item in _OPERATORS if rest.startswith(item)), "")
        if not operator:
            raise ValueError(f'"{text}": "{rest[:1]}" is not an operator; there are :- - :? ? :+ +')
        word = rest[len(operator) :]
        value = self._values.get(name[0])
        is_there = value is not None and (operator[0] != ":" or value != "")
        match operator[-1]:
            case "-":
                return (value or "") if is_there else self.fill(word)
            case "+":
                return self.fill(word) if is_there else ""
            case _:
                if is_there:
                    return value or ""
                told = self.fill(word)
                raise ValueError(f"required variable {name[0]} is missing a value" + (f": {told}" if told else ""))

    def _value(self, name: str) -> str:
        if name not in self._values and name not in self._warned:
            self._warned.add(name)
            self._warn(f'The "{name}" variable is not set. Defaulting to a blank string.')
        return self._values.get(name, "")


def _closing(text: str, opening: int) -> int:
    """Return where the brace that stands at `opening` is closed, -1 where it is not."""
    depth = 0
    position = opening
    while position < len(text):
        if text[position] == "{":
            depth += 1
        elif text[position] == "}":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    return -1


def cast(text: str, path: Path) -> Any:
    """Return a text as the kind of value that belongs to its place. Raises ValueError."""
    if path[:1] == ("services",):
        inner = path[2:]
        if any(matches(inner, pattern) for pattern in _INTEGERS):
            return _number(text, int)
        if any(matches(inner, pattern) for pattern in _NUMBERS):
            return _number(text, float)
        if any(matches(inner, pattern) for pattern in _SWITCHES):
            return _boolean(text)
    elif any(matches(path, pattern) for pattern in _TOP_SWITCHES):
        return _boolean(text)
    return text


def _number(text: str, kind: type[int] | type[float]) -> int | float:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f'"{text}" is not a {"whole " if kind is int else ""}number') from None


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError(f'"{text}" is neither true nor false')
    return _BOOLEANS[text.lower()]
