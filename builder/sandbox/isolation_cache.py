"""Remember which tier of isolation was found to work: trying it costs child processes every time.

The note holds for one boot, one user, one container and its rights; in any other situation it is as if there were none.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.sandbox.isolation import Isolation

BOOT_ID = "/proc/sys/kernel/random/boot_id"
RIGHTS = ("CapEff:", "CapBnd:", "NoNewPrivs:", "Seccomp:", "Seccomp_filters:")  # of /proc/self/status
YES, NO = "yes", "no"


class TierMemory:
    """A note in the state directory; whatever is wrong with it, it is not there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def recall(self) -> Isolation | None:
        """Return the tier that worked before, or None. That none worked is not remembered."""
        from tiffin.builder.sandbox.isolation import Isolation
        from tiffin.builder.sandbox.tiers.table import tier_named

        try:
            name, overlay, own_pids, situation = self._path.read_text().split(" ", 3)
        except (OSError, ValueError):
            return None
        if not situation or situation != _situation():
            return None
        tier = tier_named(name)
        if tier is None or not (tier.is_automatic and tier.runs_commands):
            return None
        id_map = tier.plan()
        if id_map is None and tier.has_namespaces:
            return None
        return Isolation(tier=tier, id_map=id_map, overlay=overlay == YES, own_pids=own_pids == YES)

    def remember(self, isolation: Isolation) -> None:
        """Note that it works here and now; not where something is missing that would be forgotten."""
        if isolation.unsupervised:
            return
        words = (isolation.tier.name, *(YES if has else NO for has in (isolation.overlay, isolation.own_pids)))
        temporary = self._path.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):
            temporary.write_text(f"{' '.join(words)} {_situation()}")
            temporary.replace(self._path)

    def forget(self) -> None:
        """Forget the tier that was remembered: it did not work after all."""
        self._path.unlink(missing_ok=True)


def _situation() -> str:
    """Return what the answer depends on, "" if it cannot be told."""
    try:
        namespaces = [str(Path(f"/proc/self/ns/{name}").readlink()) for name in ("user", "mnt")]
        status = Path("/proc/self/status").read_text(errors="replace").splitlines()
        rights = [line.split()[1] for line in status if line.startswith(RIGHTS)]
        return " ".join([Path(BOOT_ID).read_text().strip(), str(os.getuid()), *namespaces, *rights])
    except (OSError, IndexError):
        return ""
