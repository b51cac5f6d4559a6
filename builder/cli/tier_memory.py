"""Remember which tier of isolation was found to work: trying it costs a child process every time.

The note holds for one boot, one user and one user namespace; in any other situation it is as if there were none.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builder.sandbox.userns import IdMap

BOOT_ID = "/proc/sys/kernel/random/boot_id"


class TierMemory:
    """A note in the state directory; whatever is wrong with it, it is not there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def recall(self) -> IdMap | None:
        """The id map of the tier that worked before, or None."""
        from builder.sandbox import userns

        try:
            tier, _, situation = self._path.read_text().partition(" ")
        except (OSError, UnicodeDecodeError):
            return None
        if not situation or situation != _situation():
            return None
        id_map = userns.plan_range() if tier == "range" else userns.plan_single()
        return id_map if id_map is not None and id_map.tier == tier else None

    def remember(self, id_map: IdMap) -> None:
        """Note that it works here and now."""
        temporary = self._path.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):
            temporary.write_text(f"{id_map.tier} {_situation()}")
            temporary.replace(self._path)

    def forget(self) -> None:
        """It did not work after all."""
        self._path.unlink(missing_ok=True)


def _situation() -> str:
    """What the answer depends on, "" if it cannot be told."""
    try:
        return f"{Path(BOOT_ID).read_text().strip()} {os.getuid()} {Path('/proc/self/ns/user').readlink()}"
    except OSError:
        return ""
