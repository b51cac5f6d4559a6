"""A user namespace with the one id that every process may map: all owners are emulated by a supervisor of system
calls.
"""

from __future__ import annotations

from pathlib import Path

from tiffin.builder.sandbox import userns
from tiffin.builder.sandbox.isolation import Tier, TierReport


class SingleTier(Tier):
    """The tier of users without subordinate ids."""

    name = "single"
    has_namespaces = emulates_owners = True

    def plan(self) -> userns.IdMap:
        return userns.plan_single()

    def probe(self, directory: Path) -> TierReport:
        from tiffin.builder.sandbox.tiers.namespaces import probe_namespaces

        return probe_namespaces(self, self.plan(), directory)


TIER = SingleTier()
