"""The tiers by name, in order of preference. Each is loaded when it is asked for."""

from __future__ import annotations

from tiffin.cache.foundation.typing_shim import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from tiffin.builder.sandbox.isolation import Tier

NAMES = ("range", "single", "chroot", "proot", "none")  # of modules beside this one, each with its TIER


def tier_named(name: str) -> Tier | None:
    """Return a tier, None if there is no such."""
    if name not in NAMES:
        return None
    # not importlib.import_module: nothing else in a run loads importlib
    return cast("Tier", __import__(f"{__package__}.{name}", fromlist=["TIER"]).TIER)


def all_tiers() -> tuple[Tier, ...]:
    """Return every tier, the preferred ones first."""
    return tuple(tier for name in NAMES if (tier := tier_named(name)) is not None)
