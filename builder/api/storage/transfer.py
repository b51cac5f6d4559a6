"""Bring all steps of this machine's cache to a shared cache, and all of a shared cache here."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.builder.api.session import Session
from tiffin.builder.api.storage.prune import reach_trees
from tiffin.builder.errors import StoreError, UsageError
from tiffin.builder.events import InfoMessage, Sink
from tiffin.builder.layer.compression.codecs import Compression
from tiffin.builder.layer.compression.codecs import Kind as Kind
from tiffin.builder.settings.access import RegistryAccess
from tiffin.builder.sharing.caches import SharedCaches
from tiffin.builder.sharing.kinds import KINDS
from tiffin.builder.sharing.mounts import SharedMounts, is_mount
from tiffin.builder.sharing.options import CacheSpec
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, replace
from tiffin.cache.shared.signing import signer_of
from tiffin.cache.store.local import LocalCache
from tiffin.cache.trust import Trust

if TYPE_CHECKING:
    from tiffin.builder.image.layers import LayerStore
    from tiffin.builder.image.remote import Remote


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferOptions:
    """What is moved: the steps of `spec`, signed with `sign_key`, and the cache mounts called `ids`."""

    spec: CacheSpec
    sign_key: Path | None = None
    ids: tuple[str, ...] = ()
    registry: RegistryAccess = RegistryAccess()


def export_cache(options: TransferOptions, compression: Kind, session: Session, sink: Sink) -> None:
    """Bring every step of the local cache to a shared cache; layers not packed yet get `compression`.

    Raises StoreError.
    """
    shared, layers, _ = _open(options, session, sink)
    layers.use_trees(reach_trees(session))
    records = {
        Digest("sha256", name.partition(":")[2]): record
        for name, record in LocalCache(session.table).records()
        if layers.has(record.diff_id)
    }
    mounts = _mounts(options, session, shared, layers, sink)
    shared.bring_up(records, Compression(kind=compression), mounts.records())


def import_cache(options: TransferOptions, session: Session, sink: Sink) -> None:
    """Copy every step of a shared cache here, with its layers.

    Raises StoreError, UsageError for a kind that cannot list.
    """
    spec = options.spec
    if not KINDS[spec.kind].can_list:
        raise UsageError(
            f"type={spec.kind} cannot list its contents",
            remedy="use it with --cache-from, which asks for what it needs",
        )
    shared, layers, remote = _open(options, session, sink)
    found = {key: record for key, record in shared.everything().items() if not is_mount(record)}
    if not found:
        raise StoreError(f"{spec.kind} cache {spec.place} holds no steps", remedy="check the name")
    remote().fetch_all([record.layer for record in found.values() if record.layer is not None])
    local = LocalCache(session.table)
    for key, record in found.items():
        if record.layer is not None and session.blobs.has(record.layer.digest):
            layers.snapshots.add_blob(record.diff_id, record.layer)
            local.put(key, record)
    if options.ids:
        _mounts(options, session, shared, layers, sink).fetch()
    sink.emit(InfoMessage(message=f"brought {len(found)} records from {spec.kind} cache {spec.place}"))


def _mounts(
    options: TransferOptions, session: Session, shared: SharedCaches, layers: LayerStore, sink: Sink
) -> SharedMounts:
    if options.ids:
        session.enter(layers, None)
    return SharedMounts(options.ids, shared=shared, layers=layers, blobs=session.blobs, state=session.state, sink=sink)


def _open(
    options: TransferOptions, session: Session, sink: Sink
) -> tuple[SharedCaches, LayerStore, Callable[[], Remote]]:
    remote = cache(lambda: session.remote(sink, options.registry))
    layers = session.layers(remote)
    shared = SharedCaches(
        [replace(options.spec, required=True)],
        blobs=session.blobs,
        layers=layers,
        remote=remote,
        sink=sink,
        signer=signer_of(options.sign_key),
        trust=Trust(os.environ, cert_file=options.registry.cert, given=options.registry.certificates),
    )
    return shared, layers, remote
