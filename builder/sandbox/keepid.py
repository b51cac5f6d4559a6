"""A namespace in which the caller has ids of his own instead of root's, so that what a container of that user writes
into a mount of this machine is the caller's; root in it is the first of his subordinate ids.

The process itself stays the caller there, with every capability, so that its own files in the state directory are as
ever; only what belongs to a container is made as the namespace's root.
"""

from __future__ import annotations

from tiffin.builder.sandbox.child.idmaps import Extent
from tiffin.builder.sandbox.userns import IdMap
from tiffin.cache.foundation.frozen import replace

KEEP = "-keep-"  # in tags


def keeping(id_map: IdMap, uid: int, gid: int) -> IdMap:
    """Return the map of a user with subordinate ids, his own as `uid` and `gid`."""
    return replace(
        id_map,
        tag=f"{id_map.tag}{KEEP}{uid}-{gid}",
        uids=_moved(id_map.uids, uid),
        gids=_moved(id_map.gids, gid),
        keeps=True,
        base=id_map,
    )


def within_base(kept: IdMap) -> IdMap:
    """Return the map of such a user as it is written from a namespace of the user's other containers."""
    assert kept.base is not None
    return replace(
        kept, uids=_seen_from(kept.base.uids, kept.uids), gids=_seen_from(kept.base.gids, kept.gids), helpers=None
    )


def base_tag(tag: str) -> str:
    """Return the tag of the map of a user's other containers."""
    return tag.partition(KEEP)[0]


def kept_ids(tag: str) -> str:
    """Return which ids the caller has by the map of a tag, as UID-GID; "" for root's."""
    return tag.partition(KEEP)[2]


def _seen_from(base: tuple[Extent, ...], extents: tuple[Extent, ...]) -> tuple[Extent, ...]:
    """Return extents with outer ids as they are inside `base`, which has each of them in one of its own."""
    return tuple(
        (inside, first + outside - start, count)
        for inside, outside, count in extents
        for first, start, length in base
        if start <= outside < start + length
    )


def _moved(extents: tuple[Extent, ...], kept: int) -> tuple[Extent, ...]:
    (_, own, _), (_, start, count) = extents
    below = min(kept, count)
    moved = ((0, start, below), (kept, own, 1), (kept + 1, start + below, count - below))
    return tuple(extent for extent in moved if extent[2])
