"""No isolation, for none can be had: images are made of COPY, ADD and metadata, and no command is run."""

from __future__ import annotations

from pathlib import Path

from tiffin.builder.sandbox.isolation import Isolation, Tier, TierReport


class NoTier(Tier):
    """The tier that runs nothing."""

    name = "none"
    runs_commands = False

    def probe(self, directory: Path) -> TierReport:
        reason = "COPY, ADD and metadata; RUN needs one of the tiers above"
        asked = Isolation(tier=self, refusal="--isolation none was asked for", remedy="leave it out")
        return TierReport(tier=self, reason=reason, isolation=asked)


TIER = NoTier()
NO_ISOLATION = Isolation(tier=TIER)
