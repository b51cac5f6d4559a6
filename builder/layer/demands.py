"""What layers demand of a machine beyond the usual: ids that a small id map lacks, and device nodes.

Law: what is in a root that a command sees is held by the kernel, or answered for by a supervisor; a note beside an
inode that the kernel contradicts is in none. So it must be known of a layer, before anything is mounted, whether the
kernel can hold all of it. Most layers demand nothing, and no file is kept of that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.layer.index import Entry

USUAL_IDS = 1000  # every map of a range has those below (tiffin.builder.sandbox.userns.MIN_RANGE)
COVERED = "dev/"  # a sandbox has a /dev of its own over the image's
Limits = tuple[int, int]  # the first uid and the first gid that an id map lacks


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """Something that belongs to somebody."""

    path: str
    uid: int
    gid: int

    def __str__(self) -> str:
        return f'"{self.path}" ({self.uid}:{self.gid})'


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What has the highest uid, what the highest gid, and a device node that a command could see."""

    by_uid: Owned | None = None
    by_gid: Owned | None = None
    device: str = ""

    def beyond(self, limits: Limits) -> Owned | None:
        """Return something whose owner an id map with these limits cannot hold."""
        if self.by_uid is not None and self.by_uid.uid >= limits[0]:
            return self.by_uid
        return self.by_gid if self.by_gid is not None and self.by_gid.gid >= limits[1] else None

    def encode(self) -> bytes:
        """Empty if nothing is demanded."""
        if self == Demands():
            return b""
        owned = [[item.path, item.uid, item.gid] if item else None for item in (self.by_uid, self.by_gid)]
        return json.dumps([*owned, self.device]).encode()

    @classmethod
    def decode(cls, data: bytes) -> Demands:
        """Return what `encode` wrote. Raises ValueError."""
        try:
            by_uid, by_gid, device = json.loads(data)
            found = [
                Owned(path=str(item[0]), uid=int(item[1]), gid=int(item[2])) if item else None
                for item in (by_uid, by_gid)
            ]
        except (TypeError, LookupError) as exc:
            raise ValueError("a record of demands is malformed") from exc
        return cls(by_uid=found[0], by_gid=found[1], device=str(device))


NOTHING = Demands()


def demands_of(entries: Iterable[Entry]) -> Demands:
    """Return what the entries of a layer demand."""
    most_uid = most_gid = USUAL_IDS - 1
    by_uid = by_gid = None
    device = ""
    for entry in entries:
        if entry.uid > most_uid:
            most_uid, by_uid = entry.uid, entry
        if entry.gid > most_gid:
            most_gid, by_gid = entry.gid, entry
        if entry.kind in ("char", "block") and not entry.path.startswith(COVERED):
            device = device or entry.path
    return Demands(by_uid=_owned(by_uid), by_gid=_owned(by_gid), device=device)


def _owned(entry: Entry | None) -> Owned | None:
    return None if entry is None else Owned(path=entry.path, uid=entry.uid, gid=entry.gid)
