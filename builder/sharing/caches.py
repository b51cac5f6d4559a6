"""The shared caches of one build: asked after the local one, filled beside the build.

What cannot be read or written costs a warning, and an error only where a cache is `required`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, cast

from tiffin.builder.errors import CorruptError, StoreError, TiffinError
from tiffin.builder.events import InfoMessage, Sink, WarningMessage
from tiffin.builder.oci.reference import Reference
from tiffin.builder.plain_text import size_text
from tiffin.builder.settings.access import TOKEN_VARIABLE
from tiffin.builder.sharing.kinds import KINDS
from tiffin.builder.sharing.options import CacheSpec
from tiffin.builder.solver.results import StepObserver
from tiffin.cache.backend import StepRecord
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES, Digest
from tiffin.cache.foundation.files import disk_errors
from tiffin.cache.foundation.frozen import dataclass, replace
from tiffin.cache.shared.deadline import CircuitBreaker
from tiffin.cache.shared.protocol import SharedStore, StoreOptions
from tiffin.cache.shared.signing import RecordSigner
from tiffin.cache.shared.tier import SharedCache
from tiffin.cache.shared.upload import Uploaded, Uploader
from tiffin.cache.store.snapshots import BlobRef
from tiffin.cache.trust import Trust

if TYPE_CHECKING:
    from tiffin.builder.image.layers import LayerStore
    from tiffin.builder.image.remote import Remote
    from tiffin.builder.layer.compression.codecs import Compression
    from tiffin.builder.solver.build import Built
    from tiffin.cache.store.blobs import BlobStore


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """One cache with what reads and fills it."""

    spec: CacheSpec
    store: SharedStore
    breaker: CircuitBreaker
    cache: SharedCache | None  # where it is read
    uploader: Uploader | None  # where it is filled

    @property
    def failed(self) -> str:
        """Why nothing more is asked of it."""
        return self.breaker.failed

    def __str__(self) -> str:
        return _title(self.store)


def _title(store: SharedStore) -> str:
    return f"{store.name} cache {store.place}"


class SharedCaches(StepObserver):
    """All of them, nearest (first named) first.

    `remote` makes the registries' side, `enter` the namespace to pack in.
    """

    def __init__(
        self,
        specs: Sequence[CacheSpec],
        *,
        blobs: BlobStore,
        layers: LayerStore,
        remote: Callable[[], Remote],
        sink: Sink,
        signer: RecordSigner,
        trust: Trust,
    ) -> None:
        self._blobs = blobs
        self._layers = layers
        self._remote = remote
        self._sink = sink
        self._signer = signer
        self._trust = trust
        self._holders: dict[Digest, list[SharedStore]] = {}  # of packed layers
        self._lost: set[Digest] = set()  # packed layers that came damaged or not at all
        self._all = [self._open(spec) for spec in _merged(specs)]
        if self._all:
            remote().ask_first(self._bring)

    @property
    def tiers(self) -> list[SharedCache]:
        """The caches to ask, in order."""
        return [item.cache for item in self._all if item.cache is not None]

    @property
    def modes(self) -> frozenset[str]:
        """Whose records are wanted in the end."""
        return frozenset(item.spec.mode for item in self._all if item.uploader is not None)

    def records(self) -> list[StepRecord]:
        """Return every record that came from any of them so far."""
        return [record for cache in self.tiers for record in cache.records()]

    def lose(self, digest: Digest) -> bool:
        """Do without a packed layer from now on; False if no shared cache said it had it."""
        if digest not in self._holders:
            return False
        del self._holders[digest]
        self._lost.add(digest)
        self._layers.expect_no_longer(digest)
        return True

    def ran(self, index: int, number: int, keys: Sequence[Digest], record: StepRecord, *, for_target: bool) -> None:
        """Begin to bring up a layer just made."""
        if record.layer is None or not self._blobs.has(record.layer.digest):
            return
        for item in self._all:
            if item.uploader is not None and (for_target or item.spec.mode == "max"):
                item.uploader.offer(record.layer)

    def may_have(self, ref: BlobRef, diff_id: Digest) -> None:
        """Ask for a packed layer that another machine may have brought up, before it is looked for elsewhere."""
        for item in self._all:
            self._found(item.store, ref, diff_id)

    def settle(self, refs: Mapping[BlobRef, bool]) -> bool:
        """Wait until these packed layers are in the caches that are filled, and return whether they are; `refs` says
        which are for the target.
        """
        is_filled = True
        for item in self._all:
            if item.uploader is None:
                continue
            if item.failed:
                is_filled = False
                continue
            wanted = [ref for ref, for_target in refs.items() if for_target or item.spec.mode == "max"]
            failure = item.uploader.settle(wanted)
            is_filled = is_filled and item.uploader.has(wanted)
            if failure:
                self._sink.emit(WarningMessage(message=f"{item} was not filled: {failure}"))
        return is_filled

    def was_brought(self, ref: BlobRef, *, for_target: bool) -> None:
        """Note that another machine brought a packed layer into all caches that are to have it. Where that is sure to
        mean the same place, a registry on neither machine, it is not asked for.
        """
        for item in self._all:
            place, is_wanted = item.store.repository, for_target or item.spec.mode == "max"
            if item.uploader is not None and is_wanted and place and not Reference.parse(place).is_loopback:
                item.uploader.note(ref)

    def share(
        self,
        builds: Sequence[Built],
        compression: Compression,
        enter: Callable[[], object],
        mounts: Mapping[Digest, StepRecord],
    ) -> None:
        """Bring up everything that is not there yet, and the cache mounts; raises StoreError for a required cache that
        failed.
        """
        jobs = []
        for item in self._all:
            if item.uploader is None or item.failed:
                continue
            records: dict[Digest, StepRecord] = {}
            requested_keys: list[Digest] = []
            for built in builds:
                records.update(self._packed(built.records[item.spec.mode], compression, enter))
                requested_keys += built.requested_keys
            jobs.append((item, item.uploader, records, requested_keys))
        for (
            item,
            uploader,
            records,
            requested_keys,
        ) in jobs:  # these start threads: the namespace has been entered by now
            self._report(item, uploader.finish(records, requested_keys, mounts))

    def bring_up(
        self, records: Mapping[Digest, StepRecord], compression: Compression, mounts: Mapping[Digest, StepRecord]
    ) -> None:
        """Bring up these records and their layers, and the cache mounts; the namespace has been entered if that was
        needed.
        """
        for item in self._all:
            if item.uploader is not None:
                self._report(item, item.uploader.finish(self._packed(records, compression, lambda: None), (), mounts))

    def everything(self) -> Mapping[Digest, StepRecord]:
        """Return all records of those that can tell what they hold."""
        return {key: record for cache in self.tiers for key, record in cache.everything().items()}

    def _packed(
        self, records: Mapping[Digest, StepRecord], compression: Compression, enter: Callable[[], object]
    ) -> dict[Digest, StepRecord]:
        """Return the records with a packed layer each."""
        if any(not self._layers.has_blob(record.diff_id) for record in records.values()):
            enter()
        return {
            key: replace(record, layer=self._layers.ensure_blob(record.diff_id, compression))
            for key, record in records.items()
        }

    def _report(self, item: _Shared, done: Uploaded) -> None:
        if done.failure:
            if item.spec.required:
                raise StoreError(f"{item} could not be filled: {done.failure}", remedy="or leave required=true out")
            self._sink.emit(WarningMessage(message=f"{item} was not filled: {done.failure}"))
            return
        if done.rows or done.layers:
            layers = f"{done.layers} layer{'' if done.layers == 1 else 's'}"
            self._sink.emit(InfoMessage(message=f"shared {layers} ({size_text(done.size_bytes)}) with {item}"))
        if done.too_large:
            self._sink.emit(
                WarningMessage(
                    message=f"{item}: {done.too_large} layers are larger than max-blob; name layers=REFERENCE for them"
                )
            )

    # -- reading -------------------------------------------------------------------------------------------------------

    def _open(self, spec: CacheSpec) -> _Shared:
        store = self._store(spec)
        breaker = CircuitBreaker(
            _title(store),
            spec.timeout_seconds,
            lambda text: self._sink.emit(WarningMessage(message=text)),
            required=spec.required,
            begins=spec.writes,
        )
        cache = SharedCache(store, breaker, self._signer, lambda ref, diff_id: self._found(store, ref, diff_id))
        uploader = Uploader(
            store,
            self._signer,
            self._bytes,
            lambda: bool(self._layers.snapshots.idmap_tag) and not breaker.failed,
            self._lost,
            cache.refused,
            spec.timeout_seconds,
        )
        return _Shared(
            spec=spec,
            store=store,
            breaker=breaker,
            cache=cache if spec.reads else None,
            uploader=uploader if spec.writes else None,
        )

    def _found(self, store: SharedStore, ref: BlobRef, diff_id: Digest) -> bool:
        """Note a record found in a store: its layer can be had there."""
        if ref.digest in self._lost:
            return False
        holders = self._holders.setdefault(ref.digest, [])
        if store not in holders:
            holders.append(store)
            if store.repository:
                self._remote().add_cached(ref.digest, Reference.parse(store.repository))
        self._layers.expect(diff_id, ref)
        return True

    def _bring(self, ref: BlobRef) -> bool:
        """Bring a packed layer here; wrong bytes are as if it was not there."""
        for store in self._holders.get(ref.digest, ()):
            with suppress(CorruptError):
                try:
                    stream = store.read_blob(ref)
                    if stream is None:
                        continue
                    with stream, self._blobs.ingest(ref.digest.algorithm) as writer:
                        while data := stream.read(COPY_CHUNK_BYTES):
                            writer.write(data)
                        writer.commit(ref.digest, ref.size_bytes)
                    return True
                except CorruptError:
                    raise
                except TiffinError as exc:
                    self._sink.emit(WarningMessage(message=f"{_title(store)}: {exc.message}"))
        return False

    def _bytes(self, ref: BlobRef) -> BinaryIO:
        """Return the bytes of a packed layer to bring up, fetched if need be; what takes them checks them."""
        if not self._blobs.has(ref.digest):
            self._remote().fetch(ref)
        path = self._blobs.path(ref.digest)
        with disk_errors(path):  # it may have been pruned meanwhile
            return cast(BinaryIO, path.open("rb", buffering=0))

    # -- stores --------------------------------------------------------------------------------------------------------

    def _store(self, spec: CacheSpec) -> SharedStore:
        options = StoreOptions(
            place=spec.place,
            timeout_seconds=spec.timeout_seconds,
            registry=lambda place: self._registry(place, spec),
            trust=self._trust,
            token=os.environ.get(TOKEN_VARIABLE, ""),
            ttl_seconds=spec.ttl_seconds,
            options=spec.options,
            sizes=spec.sizes,
        )
        return KINDS[spec.kind].open_store(options)

    def _registry(self, text: str, spec: CacheSpec) -> SharedStore:
        from tiffin.builder.image.cache_image import RegistryStore

        reference, remote = Reference.parse(text), self._remote()
        if spec.is_insecure:
            remote.allow_insecure(reference.registry)
        return RegistryStore(
            remote.impatient_client(reference.registry, spec.timeout_seconds),
            reference,
            timeout_seconds=spec.timeout_seconds,
            ttl_seconds=spec.ttl_seconds,
            origins=lambda digest: remote.repositories(reference.registry, digest),
        )


def _merged(specs: Sequence[CacheSpec]) -> list[CacheSpec]:
    """Return each cache once: named to read and named to fill is both."""
    found: dict[tuple[str, str], CacheSpec] = {}
    for spec in specs:
        known = found.get(spec.identity)
        if known is None:
            found[spec.identity] = spec
            continue
        filling = spec if spec.writes else known
        found[spec.identity] = replace(
            filling,
            reads=spec.reads or known.reads,
            writes=spec.writes or known.writes,
            required=spec.required or known.required,
        )
    return list(found.values())
