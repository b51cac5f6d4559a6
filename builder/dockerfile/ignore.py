"""Docker's .dockerignore: patterns anchored at the root, the last match wins, a matched directory covers what it holds.

Semantics of moby/patternmatcher (`MatchesUsingParentResults`, by which BuildKit walks) and its ignore file reader;
glob.py tells two differences.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from itertools import groupby

from tiffin.builder.dockerfile.glob import check_pattern, is_literal, match_component, match_path, path_regex
from tiffin.builder.errors import ContextError, DockerfileError
from tiffin.cache.foundation.frozen import dataclass

_ANYWHERE = "**/"


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoreRule:
    """One line of an ignore file; `pattern` is cleaned and without the `!`."""

    pattern: str
    negated: bool
    line: int
    written: str


class _Run:
    """Neighbouring patterns of one sign."""

    def __init__(self, rules: Sequence[IgnoreRule]) -> None:
        self.rules = tuple(rules)
        self.negated = rules[0].negated
        self._paths: set[str] = set()  # patterns that are plain paths
        self._names: set[str] = set()  # patterns of the form **/name
        wild = [path_regex(rule.pattern) for rule in rules if not self._is_plain(rule.pattern)]
        self._wild = re.compile("|".join(f"(?:{text})" for text in wild), re.DOTALL) if wild else None

    def _is_plain(self, pattern: str) -> bool:
        if is_literal(pattern):
            self._paths.add(pattern)
        elif pattern.startswith(_ANYWHERE) and "/" not in pattern[3:] and is_literal(pattern[3:]):
            self._names.add(pattern[3:])
        else:
            return False
        return True

    def matches(self, path: str, name: str) -> bool:
        return path in self._paths or name in self._names or bool(self._wild and self._wild.fullmatch(path))


class IgnoreRules:
    """The patterns of one ignore file.

    They are tried in order, and what matched a directory matches all below it; that is remembered, so that a walk asks
    each name only for itself. An exception that would change nothing for a directory (`!d` while `d` is not ignored) is
    not tried on it: `**/*.md` and `!d` leave d/b.md ignored, `*` and `!d` bring it back. An exclusion that matches last
    always counts (`d`, `!d/a`, `d`), where BuildKit makes an empty file.
    """

    def __init__(self, rules: Sequence[IgnoreRule]) -> None:
        self._rules = tuple(rules)
        self._runs = [_Run(tuple(group)) for _, group in groupby(self._rules, key=lambda rule: rule.negated)]
        self._below = [  # of each negated pattern its run and components
            (number, tuple(rule.pattern.split("/")))
            for number, run in enumerate(self._runs)
            if run.negated
            for rule in run.rules
        ]
        self._directories: dict[str, int] = {"": 0}  # the runs that match them, a bit for each

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
        """Return the rules of --exclude: no comments, and a leading slash matches nothing; raises ContextError naming
        `flag`.
        """
        rules = [rule for text in patterns for rule in _rules(text.strip(), 0, flag)]
        return cls([rule for rule in rules if not rule.written.lstrip("! ").startswith("/")])

    @property
    def has_exceptions(self) -> bool:
        """Whether a pattern takes something back."""
        return any(rule.negated for rule in self._rules)

    def matches(self, path: str) -> bool:
        """Whether `path` (relative to the root, clean) is ignored."""
        run = self._deciding(path)
        return run >= 0 and not self._runs[run].negated

    def may_descend(self, directory: str) -> bool:
        """Whether something below `directory` may be included; False lets a walk pass it by."""
        deciding = self._deciding(directory)
        if deciding < 0 or self._runs[deciding].negated:
            return True
        parts = directory.split("/")
        return any(number > deciding and _reaches_below(pattern, parts) for number, pattern in self._below)

    def rule_for(self, path: str) -> IgnoreRule | None:
        """Return the rule that decides on `path`, for messages; None when none matches."""
        deciding = self._deciding(path)
        if deciding < 0:
            return None
        parts = path.split("/")
        above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        rules = reversed(self._runs[deciding].rules)
        return next(rule for rule in rules if any(match_path(rule.pattern, candidate) for candidate in above))

    def _deciding(self, path: str) -> int:
        """Return the number of the last run that matches `path`, -1 for none."""
        parent, _, name = path.rpartition("/")
        above = self._directories.get(parent)
        if above is None:
            above, prefix = 0, ""
            for part in parent.split("/"):
                prefix = f"{prefix}/{part}" if prefix else part
                above = self._directories[prefix] = self._matching(prefix, part, above)
        return self._matching(path, name, above).bit_length() - 1

    def _matching(self, path: str, name: str, above: int) -> int:
        """Return the runs that match `path`, a bit for each, given those that matched the directory `above` it."""
        found, ignored = 0, False
        for number, run in enumerate(self._runs):
            if above >> number & 1 or ((ignored or not run.negated) and run.matches(path, name)):
                found |= 1 << number
                ignored = not run.negated
        return found


def _rules(line: str, number: int, file: str) -> list[IgnoreRule]:
    """Return the rule of a line, if it has one."""
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
