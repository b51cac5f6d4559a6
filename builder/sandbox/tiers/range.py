"""A user namespace with a range of ids: owners are the kernel's, and those beyond the range are emulated where they are
met.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tiffin.builder.sandbox import userns
from tiffin.builder.sandbox.isolation import Advice, Tier, TierReport

REMEDY = "install uidmap and give the user subuids, or run as root with CAP_SETUID and CAP_SETGID"
SUBIDS = "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}    # as root, with package uidmap"


class RangeTier(Tier):
    """The tier of machines with subordinate ids, and of root."""

    name = "range"
    has_namespaces = keeps_owners = emulates_owners = True

    def plan(self) -> userns.IdMap | None:
        return userns.plan_range()

    def probe(self, directory: Path) -> TierReport:
        from tiffin.builder.sandbox.tiers.namespaces import probe_namespaces

        id_map = self.plan()
        if id_map is None:
            return TierReport(tier=self, reason=userns.why_no_range(), remedy=REMEDY)
        return probe_namespaces(self, id_map, directory)

    def advise(self, mounted: TierReport | None) -> Sequence[Advice]:
        if mounted is None or os.getuid() == 0:
            return ()
        return [Advice(what="Subordinate ids give tier range", text=SUBIDS.format(user=_user_name()))]


def _user_name() -> str:
    """Return the user's name as usermod takes it; a number where there is none."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


TIER = RangeTier()
