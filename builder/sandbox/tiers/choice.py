"""Which tiers of isolation this machine allows, and which of them is taken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tiffin.builder.errors import SandboxError, UsageError
from tiffin.builder.sandbox.isolation import Isolation, TierReport
from tiffin.builder.sandbox.tiers.none import NO_ISOLATION
from tiffin.builder.sandbox.tiers.table import NAMES, all_tiers, tier_named
from tiffin.cache.foundation.frozen import replace

RUN_REMEDY = "or build a Dockerfile without RUN; tiffin info says how to allow more"


def probe(directory: Path) -> tuple[TierReport, ...]:
    """Try every tier, the preferred ones first. Overlays are tried in `directory`, a temporary one beside the state."""
    return tuple(tier.probe(directory) for tier in all_tiers())


def best(reports: Sequence[TierReport]) -> TierReport:
    """Return the tier that is taken without --isolation."""
    return next(report for report in reports if report.usable and report.tier.is_automatic)


def choose(forced: str | None, directory: Path) -> Isolation:
    """Return the best tier that works, or one that runs nothing; raises SandboxError for a forced one that does not
    work.
    """
    if forced is not None:
        return _forced(forced, directory)
    refused, remedy = [], ""
    for tier in all_tiers():
        if not (tier.is_automatic and tier.runs_commands):
            continue
        report = tier.probe(directory)
        if report.isolation is not None:
            return report.isolation
        refused.append(f"{tier}: {report.reason}")
        if tier.has_namespaces:  # of these the last one needs least
            remedy = report.remedy.partition(";")[0]
    return replace(NO_ISOLATION, refusal="; ".join(refused), remedy=f"{remedy}; {RUN_REMEDY}")


def _forced(name: str, directory: Path) -> Isolation:
    tier = tier_named(name)
    if tier is None:
        raise UsageError(f'unknown isolation "{name}"', remedy=f"use one of {', '.join(NAMES)}")
    report = tier.probe(directory)
    if report.isolation is None:
        raise SandboxError(f"isolation {name} does not work here: {report.reason}", remedy=report.remedy)
    return report.isolation
