"""Tell which isolation this machine allows, and why not more."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tiffin.builder.api.session import Session
from tiffin.builder.sandbox.tiers.table import NAMES
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.sandbox.isolation import Advice as Advice
    from tiffin.builder.sandbox.isolation import Isolation
    from tiffin.builder.sandbox.isolation import TierReport as TierReport

TIERS = NAMES  # of isolation, best first


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """`reports`: of each tier; `chosen`: the name of the one that is used; `lifts`: what would allow more."""

    reports: Sequence[TierReport]
    chosen: str
    advice: Sequence[Advice]
    has_cgroups: bool  # that this user may limit commands with

    @property
    def isolation(self) -> Isolation | None:
        """That of the tier that is used."""
        return next((report.isolation for report in self.reports if report.name == self.chosen), None)


def look(session: Session) -> Machine:
    """Try every tier of isolation, in child processes."""
    from tiffin.builder.sandbox.cgroup import find_trees
    from tiffin.builder.sandbox.tiers.choice import best, probe
    from tiffin.builder.sandbox.tiers.remediation import advice

    with session.state.scratch("probe") as place:
        reports = probe(place)
    return Machine(
        reports=reports,
        chosen=os.environ.get("TIFFIN_ISOLATION") or best(reports).name,
        advice=advice(reports),
        has_cgroups=bool(find_trees()),
    )


def own_platforms() -> list[str]:
    """Return the platforms whose programs this machine runs, its own first."""
    from tiffin.builder.oci.spec import Platform
    from tiffin.builder.sandbox.binfmt import ARCHITECTURES, can_run

    own = str(Platform.local())
    found = [f"linux/{name}{'/v7' if name == 'arm' else ''}" for name in ARCHITECTURES if can_run(name)]
    return list(dict.fromkeys((own, *found)))
