"""Versions of Alpine's packages in apk's order: numbers, a letter, suffixes, a release."""

from __future__ import annotations

import re
from functools import total_ordering

_FORM = re.compile(
    r"(?P<numbers>[0-9]+(?:\.[0-9]+)*)(?P<letter>[a-z]?)(?P<suffixes>(?:_[a-z]+[0-9]*)*)"
    r"(?:~[0-9a-f]+)?(?:-r(?P<release>[0-9]+))?"
)
_SUFFIX = re.compile(r"_([a-z]+)([0-9]*)")
_ORDER = {"alpha": -4, "beta": -3, "pre": -2, "rc": -1, "cvs": 1, "svn": 2, "git": 3, "hg": 4, "p": 5}
_NO_SUFFIX = (0, 0)


@total_ordering
class ApkVersion:
    """A version. Raises ValueError for what is not one."""

    def __init__(self, text: str) -> None:
        parts = _FORM.fullmatch(text)
        suffixes = _SUFFIX.findall(parts["suffixes"]) if parts else []
        if parts is None or any(name not in _ORDER for name, _ in suffixes):
            raise ValueError(f'"{text}" is not a valid version of apk')
        first, *rest = parts["numbers"].split(".")
        numbers = [int(first), *(number for part in rest for number in _numbers(part))]
        ranked = [(_ORDER[name], int(number or 0)) for name, number in suffixes]
        release = int(parts["release"] or 0)
        self._key = (numbers, parts["letter"], [*ranked, _NO_SUFFIX], release)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ApkVersion) and self._key == other._key

    def __lt__(self, other: ApkVersion) -> bool:
        return self._key < other._key

    def __hash__(self) -> int:
        return hash(str(self._key))


def _numbers(part: str) -> list[int]:
    """Return a part after a dot; zeros in front of others count by themselves, the fewer the higher."""
    digits = part.lstrip("0")
    zeros = len(part) - len(digits)
    if not zeros:
        return [int(part)]
    return [1 - zeros, int(digits)] if digits else [1 - zeros]
