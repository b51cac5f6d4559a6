"""The build cache: what it holds, whether it is whole, making it smaller."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from tiffin.builder.api.session import Session
from tiffin.builder.api.storage.prune import no_remote, reach_trees, remove_failures, remove_unneeded
from tiffin.builder.errors import CorruptError, StoreError, TiffinError
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES, Digest
from tiffin.cache.foundation.forked import side_by_side
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.store.local import LocalCache

if TYPE_CHECKING:
    from tiffin.builder.image.layers import LayerStore
    from tiffin.cache.backend import StepRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """How many blobs and layers were read, and a line for each that is damaged."""

    checked: int
    damaged: Sequence[str]


def steps(session: Session) -> Iterator[tuple[str, StepRecord]]:
    """Yield each step once, by one of its keys: it has one for its definition and one for its content."""
    seen = set()
    for name, record in LocalCache(session.table).records():
        identity = (record.diff_id, record.parent_chain, record.created, record.description)
        if identity not in seen:
            seen.add(identity)
            yield name.partition(":")[2], record


def prune(session: Session, *, max_bytes: int | None, max_age_seconds: float | None, keep: int | None) -> None:
    """Remove the oldest steps until the state directory takes at most `max_bytes`, those that are older, all but the
    `keep` newest; and layers that no image needs then, and failed steps. The namespace was entered.
    """
    from tiffin.builder.api.storage.state_size import state_size

    cache = LocalCache(session.table)
    rows = sorted(((written, name) for name, _, written in cache.dated_records()), reverse=True)
    kept = []
    for number, (written, name) in enumerate(rows):
        is_old = max_age_seconds is not None and time.time() - written > max_age_seconds
        if is_old or (keep is not None and number >= keep):
            cache.forget(name)
        else:
            kept.append(name)
    remove_unneeded(session, keep_records=True)
    if max_bytes is None or state_size(session) > max_bytes:
        remove_failures(session)
    while max_bytes is not None and kept and state_size(session) > max_bytes:
        for name in kept[-max(1, len(kept) // 8) :]:
            cache.forget(name)
            kept.remove(name)
        remove_unneeded(session, keep_records=True)


def verify(session: Session, *, repair: bool) -> Verified:
    """Read every blob and every unpacked layer and compare them with their digests; with `repair` remove what is
    damaged.
    """
    layers = session.layers(no_remote)
    layers.use_trees(reach_trees(session))
    snapshots = layers.snapshots
    blobs, diff_ids, damaged = list(session.blobs), list(snapshots), []
    for digest, problem in zip(blobs, side_by_side(partial(_damage_of_blob, session), blobs), strict=True):
        if problem:
            damaged.append(f"blob {digest}: {problem}")
            if repair:
                session.blobs.delete(digest)
    for diff_id, problem in zip(diff_ids, side_by_side(partial(_damage_of_tree, layers), diff_ids), strict=True):
        if problem:
            damaged.append(f"layer {diff_id}: {problem}")
            if repair:
                snapshots.remove(diff_id)
    for name in session.store.broken(forget=repair):
        damaged.append(f"image {name}: its manifest or configuration is lost; pull or build it again")
    return Verified(checked=len(blobs) + len(diff_ids), damaged=damaged)


def _damage_of_blob(session: Session, digest: Digest) -> str:
    try:
        with session.blobs.open(digest) as stream:
            while stream.read(COPY_CHUNK_BYTES):
                pass
    except (CorruptError, StoreError) as exc:
        return exc.message
    except OSError as exc:
        return str(exc.strerror)
    return ""


def _damage_of_tree(layers: LayerStore, diff_id: Digest) -> str:
    """Return what is wrong with the table of contents or the tree of a layer."""
    from tiffin.builder.layer.compare import first_change
    from tiffin.builder.layer.disk.diff import diff_upper
    from tiffin.builder.layer.index import LayerIndex
    from tiffin.builder.layer.pack import pack_layer

    try:
        data = layers.snapshots.read_index(diff_id)
        if data is not None and not LayerIndex.is_current(data):
            data = None  # of another tiffin: it is made anew when it is needed
        if data is not None:
            LayerIndex.decode(data)
        layers.snapshots.blobs(diff_id)
        tree = layers.snapshots.tree(diff_id)
        if tree is None:
            return ""
        now = pack_layer(diff_upper(tree), blobs=None, compression=None)
        if now.diff_id == diff_id:
            return ""
        if data is None and not layers.has_blob(diff_id):
            return f"its unpacked tree was changed (now {now.diff_id})"
        change = first_change(layers.ensure_index(diff_id, None), now.index)  # tiffin may not be who packed it
        return f"its unpacked tree was changed: {change}" if change else ""
    except (TiffinError, OSError) as exc:
        return str(exc)
