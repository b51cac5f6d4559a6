"""Which advisories are about the software of an image: OSV's algorithm, with each ecosystem's order of versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tiffin.builder.advisories.advisory import FIXED, INTRODUCED, LAST_AFFECTED, LIMIT, Advisory, Affected
from tiffin.builder.advisories.database import Database
from tiffin.builder.advisories.ecosystems import SYSTEM, Compared, is_for, known_as, versions_of
from tiffin.builder.advisories.severity import Severity
from tiffin.builder.advisories.vex import FIXED as VEX_FIXED
from tiffin.builder.advisories.vex import NOT_AFFECTED, VexStatement, last_word
from tiffin.builder.sbom.bill import Bill
from tiffin.builder.sbom.inventory import Component
from tiffin.cache.foundation.frozen import dataclass, replace

BEGINNING = "0"  # OSV's version before all others


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A vulnerability of a package. `suppressed` says why it does not count, "" where it does; `said` is the status
    that a VEX statement gives it, "" for none.
    """

    id: str
    aliases: tuple[str, ...]
    summary: str
    severity: Severity
    fixes: tuple[str, ...]
    component: Component
    said: str = ""
    suppressed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """All findings, the worst first; and what could not be compared, which may be more."""

    findings: tuple[Finding, ...]
    unsure: tuple[str, ...]


def match(bill: Bill, database: Database, statements: Sequence[VexStatement]) -> Matched:
    """Return what is wrong with the software of an image."""
    findings: list[Finding] = []
    unsure: list[str] = []
    for component in bill.inventory.components:
        own: list[Finding] = []
        for advisory, affected in _candidates(component, bill, database, unsure):
            own = _joined(own, _finding(advisory, affected, component))
        findings += [_judged(item, bill, database, statements) for item in own]
    findings.sort(key=lambda item: (-item.severity.rank, -(item.severity.score or 0), item.id, item.component.purl))
    return Matched(findings=tuple(findings), unsure=tuple(dict.fromkeys(unsure)))


def _candidates(
    component: Component, bill: Bill, database: Database, unsure: list[str]
) -> list[tuple[Advisory, Affected]]:
    release = bill.inventory.release
    known = known_as(component.package, release)
    found: list[tuple[Advisory, Affected]] = []
    if known is None:
        return []
    for advisory, affected in database.about(known.ecosystem, known.name):
        if not is_for(affected.ecosystem, release):
            continue
        try:
            hit = known.version in affected.versions or is_affected(
                known.version, affected, versions_of(known.ecosystem)
            )
        except (ValueError, TypeError, AttributeError) as exc:
            unsure.append(f"{advisory.id} of {component.purl}: {exc}")
            continue
        if hit and all(advisory.id != other.id for other, _ in found):
            found.append((advisory, affected))
    return found


def is_affected(version: str, affected: Affected, compared: Compared) -> bool:
    """Whether a version lies in a range of an advisory. Raises ValueError for versions that cannot be compared."""
    if not affected.ranges:
        return False
    mine = compared(version)
    return any(_is_in(mine, events, compared) for events in affected.ranges)


def _is_in(mine: Any, events: Sequence[tuple[str, str]], compared: Compared) -> bool:
    limits = [compared(text) for kind, text in events if kind == LIMIT and text != "*"]
    if limits and not any(mine < limit for limit in limits):
        return False
    rows = [(kind, None if text == BEGINNING else compared(text)) for kind, text in events if kind != LIMIT]
    begins = any(kind == INTRODUCED and at is None for kind, at in rows)
    state = begins
    for kind, at in sorted((row for row in rows if row[1] is not None), key=lambda row: _Sorted(row[1])):
        if kind == INTRODUCED and mine >= at:
            state = True
        elif (kind == FIXED and mine >= at) or (kind == LAST_AFFECTED and mine > at):
            state = False
    return state


class _Sorted:
    """Makes versions sortable that know `<` alone."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __lt__(self, other: _Sorted) -> bool:
        return bool(self._value < other._value)


def _finding(advisory: Advisory, affected: Affected, component: Component) -> Finding:
    return Finding(
        id=advisory.id,
        aliases=advisory.aliases,
        summary=advisory.summary,
        severity=affected.severity,
        fixes=affected.fixes(),
        component=component,
    )


def _joined(findings: list[Finding], new: Finding) -> list[Finding]:
    """Return findings of a package with one more; one that has a name in common with another is the same."""
    names = {new.id, *new.aliases}
    for number, known in enumerate(findings):
        if names.isdisjoint({known.id, *known.aliases}):
            continue
        aliases = sorted({*known.aliases, *names} - {known.id})
        worst = max(known.severity, new.severity, key=lambda item: item.rank)
        fixes = tuple(dict.fromkeys((*known.fixes, *new.fixes)))
        return [
            *findings[:number],
            replace(known, aliases=tuple(aliases), severity=worst, fixes=fixes),
            *findings[number + 1 :],
        ]
    return [*findings, new]


def _judged(finding: Finding, bill: Bill, database: Database, statements: Sequence[VexStatement]) -> Finding:
    """Return a finding with what is said of it."""
    said = last_word(statements, (finding.id, *finding.aliases), finding.component, bill)
    if said is not None:
        why = f"{said.status}: {said.why}".rstrip(": ") if said.status in (NOT_AFFECTED, VEX_FIXED) else ""
        return replace(finding, said=said.status, suppressed=why)
    owner = finding.component.owner
    release = bill.inventory.release
    if owner and finding.component.package.type not in SYSTEM and release is not None:
        system = bill.owners().get(owner)
        known = known_as(system.package, release) if system is not None else None
        if known is not None and database.has(known.ecosystem):
            # a distribution mends the version that it has: its own advisories tell
            return replace(finding, suppressed=f"part of {owner}, which {known.ecosystem}'s advisories are about")
    return finding
