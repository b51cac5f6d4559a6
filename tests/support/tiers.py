"""The tiers of isolation, as objects."""

from __future__ import annotations

from tiffin.builder.sandbox.tiers.table import all_tiers

RANGE, SINGLE, CHROOT, PROOT, NONE = all_tiers()
