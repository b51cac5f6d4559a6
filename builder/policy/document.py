"""Policies in TOML: the form that people write.

    schema = 1

    [[images]]                                # what FROM, COPY --from, pull and run use
    for = ["docker.io/**"]                    # to which this applies; all without it
    registries = ["docker.io", "*.corp.example"]
    names = ["docker.io/library/*"]
    pinned = true

    [[git]]
    [[urls]]
    [[result]]                                # what a build makes, and what is pushed

Every table that applies has to be kept to.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

from tiffin.builder.errors import TiffinError, UsageError
from tiffin.builder.policy.facts import GIT, IMAGE, RESULT, URL, Denial, Evidence, Judge, Subject
from tiffin.builder.policy.names import matches
from tiffin.builder.policy.rules import ATTESTED_BY, RULES, SIGNED_BY, Answer, Attested, Rule
from tiffin.cache.foundation.frozen import dataclass

SCHEMA = 1
SECTIONS = {"images": IMAGE, "git": GIT, "urls": URL, "result": RESULT}
FOR, EXCEPT = "for", "except"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """One table: to what it applies, and its rules with their values."""

    section: str
    applies: tuple[str, ...]
    excepted: tuple[str, ...]
    rules: tuple[tuple[Rule, object], ...]


class TomlPolicy(Judge):
    """A policy in a TOML file. Raises UsageError for one that is not understood."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._tables = _read(path)
        self._folder = path.parent

    def judge(self, subject: Subject, evidence: Callable[[], Evidence]) -> Sequence[Denial]:
        """Return the rules that are not kept, in the order of the file."""
        found = []
        for table in self._tables:
            if SECTIONS[table.section] != subject.kind or not _applies(table, subject):
                continue
            for rule, value in table.rules:
                if rule.needs_contents != (subject.contents is not None) and subject.kind != RESULT:
                    continue  # names are judged before anything is fetched, and not again
                answer = rule.check(value, subject, evidence, self._folder)
                if answer is not None:
                    found.append(self._denial(f"{table.section}.{rule.name}", answer, subject))
        return found

    def _denial(self, rule: str, answer: Answer, subject: Subject) -> Denial:
        span = subject.lines.get(answer.line) or subject.span
        return Denial(policy=self.name, rule=rule, reason=answer.reason, remedy=answer.remedy, span=span)


def _read(path: Path) -> tuple[_Table, ...]:
    try:
        document = tomllib.loads(path.read_text())
    except (OSError, ValueError) as exc:
        raise UsageError(f"cannot read the policy {path}: {exc}", remedy="see tiffin policy init") from exc
    if document.pop("schema", None) != SCHEMA:
        raise UsageError(f"{path}: schema is not {SCHEMA}", remedy=f"write schema = {SCHEMA} as its first line")
    tables = []
    for section, rows in document.items():
        if section not in SECTIONS:
            raise UsageError(f'{path}: "{section}" is unknown', remedy=f"there are [[{']], [['.join(SECTIONS)}]]")
        for row in rows if isinstance(rows, list) else [rows]:
            tables.append(_table(path, section, row))
    return tuple(tables)


def _table(path: Path, section: str, row: object) -> _Table:
    if not isinstance(row, dict):
        raise UsageError(f"{path}: {section} is not a table", remedy=f"write [[{section}]]")
    known = {rule.name: rule for rule in RULES[SECTIONS[section]]}
    values: dict[str, object] = {}
    for name, value in row.items():
        if name in (FOR, EXCEPT):
            continue
        if name not in known:
            raise UsageError(
                f'{path}: {section} has no rule "{name}"',
                remedy=f"there are {', '.join((FOR, EXCEPT, *known))}",
            )
        try:
            values[name] = known[name].read(value)
        except (ValueError, TypeError, TiffinError) as exc:
            raise UsageError(
                f"{path}: {section}.{name}: {exc}", remedy=f"write {name} = {known[name].example}"
            ) from exc
    if ATTESTED_BY in values:
        values[ATTESTED_BY] = _attested(path, section, values)
    rules = tuple((known[name], value) for name, value in values.items())
    return _Table(
        section=section, applies=_patterns(path, row, FOR), excepted=_patterns(path, row, EXCEPT), rules=rules
    )


def _attested(path: Path, section: str, values: dict[str, object]) -> Attested:
    """Return which builders count, and whose word for it: a provenance that nobody signed anyone can write."""
    builders, keys = values[ATTESTED_BY], values.get(SIGNED_BY)
    if not keys:
        raise UsageError(
            f"{path}: {section}.{ATTESTED_BY}: a provenance that nobody signed can be written by anyone",
            remedy=f'write {SIGNED_BY} = ["release.pub"] in the same table',
        )
    assert isinstance(builders, tuple) and isinstance(keys, tuple)
    return Attested(builders=builders, keys=keys)


def _patterns(path: Path, row: dict[str, object], name: str) -> tuple[str, ...]:
    value = row.get(name, [])
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise UsageError(f"{path}: {name} is not a list of patterns", remedy=f'write {name} = ["docker.io/**"]')
    return tuple(value)


def _applies(table: _Table, subject: Subject) -> bool:
    if table.applies and not any(matches(pattern, subject) for pattern in table.applies):
        return False
    return not any(matches(pattern, subject) for pattern in table.excepted)
