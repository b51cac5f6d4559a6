"""semvercmp(): whether a version is as a constraint demands."""

from __future__ import annotations

import re

from tiffin.builder.bake.functions.function import Function
from tiffin.builder.bake.hcl.faults import ExpressionError
from tiffin.builder.bake.hcl.types import STRING
from tiffin.cache.foundation.frozen import dataclass

_VERSION = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
_PART = r"(?:v?(?:\d+|[xX*])(?:\.(?:\d+|[xX*]))?(?:\.(?:\d+|[xX*]))?(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?)"
_RANGE = re.compile(rf"({_PART})\s+-\s+({_PART})")
_CONSTRAINT = re.compile(rf"(=|!=|<>|>=|=>|<=|=<|>|<|~>|~|\^)?\s*({_PART})")
WILD = ("x", "X", "*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version; `given`: how many of its numbers are written."""

    numbers: tuple[int, int, int]
    prerelease: tuple[tuple[int, int, str], ...] = ()
    given: int = 3

    def key(self) -> tuple[object, ...]:
        """Return what orders versions: a release is above its prereleases."""
        return self.numbers, not self.prerelease, self.prerelease


def read_version(text: str) -> Version:
    """Return the version that a text says. Raises ExpressionError."""
    match = _VERSION.fullmatch(text)
    if match is None:
        raise ExpressionError(f'"{text}" is not a semantic version')
    parts = (match[4] or "").split(".") if match[4] else []
    return Version(
        numbers=(int(match[1]), int(match[2] or 0), int(match[3] or 0)),
        prerelease=tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts),
        given=sum(match[number] is not None for number in (1, 2, 3)),
    )


def satisfies(version: str, constraint: str) -> bool:
    """Whether a version is as a constraint demands: || or, blanks and commas and. Raises ExpressionError."""
    found = read_version(version)
    return any(all(_checks(found, part.strip())) for part in constraint.split("||"))


def _checks(version: Version, text: str) -> list[bool]:
    text = _RANGE.sub(r">=\1 <=\2", text)
    found, end = [], 0
    while end < len(text):
        match = _CONSTRAINT.match(text, end)
        if match is None:
            break
        found.append(_check(version, match[1] or "", match[2]))
        end = match.end()
        while end < len(text) and text[end] in ", \t":
            end += 1
    if not found or end < len(text):
        raise ExpressionError(f'improper constraint: "{text}"', remedy="write >= 1.2, < 2")
    return found


def _check(version: Version, operator: str, text: str) -> bool:
    numbers = re.split(r"[-+]", text)[0].removeprefix("v").split(".")
    given = next((at for at, part in enumerate(numbers) if part in WILD), len(numbers))
    is_partial = given < 3
    if given == 0:
        return operator not in ("!=", "<>", "<", ">") and not version.prerelease
    wanted = read_version(text if given == len(numbers) else ".".join(numbers[:given]))
    if version.prerelease and not wanted.prerelease and operator not in ("!=", "<>"):
        return False
    above = _next(wanted.numbers, given - 1)
    is_in = wanted.numbers <= version.numbers < above if is_partial else version.key() == wanted.key()
    match operator:
        case "" | "=":
            return is_in
        case "!=" | "<>":
            return not is_in
        case ">":
            return version.numbers >= above if is_partial else version.key() > wanted.key()
        case ">=" | "=>":
            return version.key() >= wanted.key()
        case "<":
            return version.key() < wanted.key()
        case "<=" | "=<":
            return version.numbers < above if is_partial else version.key() <= wanted.key()
        case "^":
            first = next((at for at, number in enumerate(wanted.numbers[:given]) if number), given - 1)
            return version.key() >= wanted.key() and version.numbers < _next(wanted.numbers, first)
    return version.key() >= wanted.key() and version.numbers < _next(wanted.numbers, min(given - 1, 1))


def _next(numbers: tuple[int, int, int], place: int) -> tuple[int, int, int]:
    """Return the first version in which a number is another."""
    found = [*numbers[:place], numbers[place] + 1, 0, 0]
    return found[0], found[1], found[2]


FUNCTIONS = {"semvercmp": Function(takes=(STRING, STRING), do=satisfies)}
