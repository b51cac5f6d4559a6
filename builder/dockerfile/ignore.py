"""Docker's .dockerignore: patterns anchored at the root, the last match wins, a matched directory covers what it holds."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass

from builder.dockerfile.glob import character_class
from builder.errors import ContextError, DockerfileError


@dataclass(frozen=True, slots=True)
class _Pattern:
    expression: re.Pattern[str]
    negated: bool


class IgnoreRules:
    """The patterns of one ignore file. Asking about children after their directory is cheap; directories are remembered."""

    def __init__(self, patterns: Sequence[_Pattern]) -> None:
        self._patterns = tuple(patterns)
        self._has_negation = any(pattern.negated for pattern in patterns)
        self._directories: dict[str, tuple[bool, ...]] = {"": (False,) * len(self._patterns)}

    @classmethod
    def parse(cls, text: str, file: str) -> IgnoreRules:
        """Read an ignore file; raises ContextError naming file, line and pattern."""
        patterns = []
        for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
            if line.startswith("#") or not line.strip():
                continue
            try:
                pattern = _parse_line(line.strip())
            except (DockerfileError, re.error) as exc:
                raise ContextError(
                    f'{file}:{number}: invalid pattern "{line.strip()}"', remedy="see the .dockerignore syntax"
                ) from exc
            if pattern is not None:
                patterns.append(pattern)
        return cls(patterns)

    def matches(self, path: str) -> bool:
        """Whether `path` (relative, no leading slash) is ignored."""
        result = False
        for pattern, matched in zip(self._patterns, self._matched(path), strict=True):
            if matched:
                result = not pattern.negated
        return result

    def may_descend(self, directory: str) -> bool:
        """Whether something below an ignored directory may be included again."""
        return self._has_negation

    def _matched(self, path: str) -> tuple[bool, ...]:
        parent = path.rpartition("/")[0]
        above = self._directories.get(parent)
        if above is None:
            above = self._directories[parent] = self._matched(parent)
        return tuple(
            hit or pattern.expression.match(path) is not None
            for pattern, hit in zip(self._patterns, above, strict=True)
        )


def _parse_line(line: str) -> _Pattern | None:
    negated = line.startswith("!")
    text = line[1:].strip() if negated else line
    if negated and not text:
        raise DockerfileError('illegal exclusion pattern: "!"')
    text = posixpath.normpath(text).lstrip("/") if text else ""
    if text in ("", "."):
        return None
    return _Pattern(re.compile(_translate(text), re.DOTALL), negated)


def _translate(pattern: str) -> str:
    """The regular expression of a pattern: `**` is any number of directories, `*` and `?` stay in one."""
    out, index = "", 0
    while index < len(pattern):
        char = pattern[index]
        index += 1
        if char == "*" and pattern[index : index + 1] == "*":
            index += 1
            slash = pattern[index : index + 1] == "/"
            index += slash
            out += "(?:.*/)?" if slash or index < len(pattern) else ".*"
        elif char == "*":
            out += "[^/]*"
        elif char == "?":
            out += "[^/]"
        elif char == "[":
            group, index = character_class(pattern, index)
            out += group
        elif char == "\\":
            if index == len(pattern):
                raise DockerfileError("a pattern ends in a backslash")
            out += re.escape(pattern[index])
            index += 1
        else:
            out += re.escape(char)
    return out + r"\Z"
