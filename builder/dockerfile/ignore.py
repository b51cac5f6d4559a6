"""Docker's .dockerignore: patterns anchored at the root, the last match wins, a matched directory covers what it holds.

Semantics of moby/patternmatcher (`MatchesOrParentMatches`) and its ignore file reader; glob.py tells two differences.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence

from builder.dockerfile.glob import check_pattern, is_literal, match_component, match_path, path_regex
from builder.errors import ContextError, DockerfileError
from cache.values import dataclass

_ANYWHERE = "**/"


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoreRule:
    """One line of an ignore file; `pattern` is cleaned and without the `!`."""

    pattern: str
    negated: bool
    line: int
    written: str


class IgnoreRules:
    """The patterns of one ignore file.

    Neighbouring patterns of one sign form a run. A path's verdict is the sign of the last run that matches it or a
    directory above it; directories are remembered, so that a walk asks each name only for itself.
    """

    def __init__(self, rules: Sequence[IgnoreRule]) -> None:
        self._rules = tuple(rules)
        self._negated: list[bool] = []  # by run
        self._below: list[tuple[int, tuple[str, ...]]] = []  # of each negated pattern its run and components
        self._paths: dict[str, int] = {}  # patterns that are plain paths
        self._names: dict[str, int] = {}  # patterns of the form **/name
        wild: list[list[str]] = []
        for rule in self._rules:
            if not self._negated or self._negated[-1] != rule.negated:
                self._negated.append(rule.negated)
                wild.append([])
            self._sort_in(rule, len(self._negated) - 1, wild[-1])
        # the last run first, each in a group of its own
        self._groups = [run for run in reversed(range(len(wild))) if wild[run]]
        alternatives = "|".join(f"({'|'.join(wild[run])})" for run in self._groups)
        self._wild = re.compile(alternatives, re.DOTALL) if alternatives else None
        self._directories: dict[str, int] = {"": -1}

    @classmethod
    def parse(cls, text: str, file: str) -> IgnoreRules:
        """Read an ignore file; raises ContextError naming file, line and pattern."""
        rules = []
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
            if not line.startswith("#"):
                rules += _rules(line.strip(), number, file)
        return cls(rules)

    @classmethod
    def of_patterns(cls, patterns: Iterable[str], flag: str) -> IgnoreRules:
        """The rules of --exclude: no comments, and a leading slash matches nothing; raises ContextError naming `flag`."""
        rules = [rule for text in patterns for rule in _rules(text.strip(), 0, flag)]
        return cls([rule for rule in rules if not rule.written.lstrip("! ").startswith("/")])

    @property
    def has_exceptions(self) -> bool:
        """Whether a pattern takes something back."""
        return any(rule.negated for rule in self._rules)

    def matches(self, path: str) -> bool:
        """Whether `path` (relative to the root, clean) is ignored."""
        run = self._last_run(path)
        return run >= 0 and not self._negated[run]

    def may_descend(self, directory: str) -> bool:
        """Whether something below `directory` may be included; False lets a walk pass it by."""
        run = self._last_run(directory)
        if run < 0 or self._negated[run]:
            return True
        parts = directory.split("/")
        return any(number > run and _reaches_below(pattern, parts) for number, pattern in self._below)

    def rule_for(self, path: str) -> IgnoreRule | None:
        """The rule that decides on `path`, for messages; None when none matches."""
        parts = path.split("/")
        above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        for rule in reversed(self._rules):
            if any(match_path(rule.pattern, candidate) for candidate in above):
                return rule
        return None

    def _sort_in(self, rule: IgnoreRule, run: int, wild: list[str]) -> None:
        pattern = rule.pattern
        if rule.negated:
            self._below.append((run, tuple(pattern.split("/"))))
        if is_literal(pattern):
            self._paths[pattern] = run
        elif pattern.startswith(_ANYWHERE) and "/" not in pattern[3:] and is_literal(pattern[3:]):
            self._names[pattern[3:]] = run
        else:
            wild.append(path_regex(pattern))

    def _last_run(self, path: str) -> int:
        parent, _, name = path.rpartition("/")
        run = self._directories.get(parent)
        if run is None:
            run, prefix = -1, ""
            for part in parent.split("/"):
                prefix = f"{prefix}/{part}" if prefix else part
                run = self._directories[prefix] = self._own_run(prefix, part, run)
        return self._own_run(path, name, run)

    def _own_run(self, path: str, name: str, above: int) -> int:
        """The last run that matches `path`, or that matched `above` it."""
        if above == len(self._negated) - 1:
            return above
        run = max(above, self._paths.get(path, -1), self._names.get(name, -1))
        match = self._wild.fullmatch(path) if self._wild else None
        if match:
            assert match.lastindex is not None
            run = max(run, self._groups[match.lastindex - 1])
        return run


def _rules(line: str, number: int, file: str) -> list[IgnoreRule]:
    """The rule of a line, if it has one."""
    try:
        rule = _parse_line(line, number)
    except DockerfileError as exc:
        raise ContextError(
            f"{file}:{number}: {exc.message}" if number else f"{file}: {exc.message}", remedy=exc.remedy
        ) from exc
    return [] if rule is None else [rule]


def _parse_line(line: str, number: int) -> IgnoreRule | None:
    negated = line.startswith("!")
    text = line[1:].strip() if negated else line
    pattern = posixpath.normpath(text).lstrip("/") if text else ""
    if negated and not pattern:
        raise DockerfileError(f'illegal exclusion pattern: "{line}"', remedy="write a pattern after the !")
    if pattern in ("", "."):
        return None
    check_pattern(pattern)
    return IgnoreRule(pattern=pattern, negated=negated, line=number, written=line)


def _reaches_below(pattern: tuple[str, ...], directory: Sequence[str]) -> bool:
    """Whether `pattern` may match a path below `directory` without matching the directory or one above it."""
    if any("[" in part or "\\" in part for part in pattern):
        return True  # its slashes need not be separators
    for part, name in zip(pattern, directory, strict=False):
        if "**" in part:
            return True
        if not match_component(part, name):
            return False
    return len(pattern) > len(directory)
