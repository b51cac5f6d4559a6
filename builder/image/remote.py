"""Images in registries: look one up, pull it whole, push it. Layers move side by side, manifests come last."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from tiffin.builder.errors import CorruptError, ImageError, MissingBlobError, RegistryError, StoreError, TiffinError
from tiffin.builder.events import InfoMessage, Sink, Transfer
from tiffin.builder.image.resolved import Resolved
from tiffin.builder.image.store import ImageStore, StoredImage
from tiffin.builder.image.streaming_fetch import FetchObserver
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import (
    INDEX_TYPES,
    LAYER_COMPRESSION,
    MAX_DOCUMENT_BYTES,
    Descriptor,
    Index,
    Manifest,
    Platform,
)
from tiffin.builder.registry.auth.files import DockerConfig
from tiffin.builder.registry.client import Outcome, RegistryClient
from tiffin.builder.registry.transport import RegistryOptions
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES, Digest
from tiffin.cache.foundation.frozen import replace
from tiffin.cache.foundation.workers import Workers
from tiffin.cache.shared.stores.peers import Peers
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.snapshots import BlobRef
from tiffin.cache.store.statedir import StateDir

PARALLEL_TRANSFERS = 4
PARALLEL_QUESTIONS = 16  # whether a blob is there, or to mount it: round trips without bytes
MIRROR_SECONDS = 10.0  # what an answer of one may take
EVENT_INTERVAL_SECONDS = 0.1


class Remote:
    """Registries as seen from one state directory; thread-safe."""

    def __init__(
        self,
        *,
        state: StateDir,
        blobs: BlobStore,
        store: ImageStore,
        sink: Sink,
        environ: Mapping[str, str],
        options: RegistryOptions,
        peers: Peers | None = None,
    ) -> None:
        self._state = state
        self._blobs = blobs
        self._store = store
        self._sink = sink
        self._environ = environ
        self._options = options
        self._clients: dict[str, RegistryClient] = {}
        self._peers = peers  # other builders, asked before a registry
        self._shared: list[Callable[[BlobRef], bool]] = []  # what else may bring a blob here; asked first
        self._cached: set[tuple[Digest, str, str]] = set()  # blobs those bring from a registry, impatiently

    def allow_insecure(self, registry: str) -> None:
        """Take a registry for one that --insecure-registry names; before a client of it is made."""
        if registry not in self._options.insecure_registries:
            names = (*self._options.insecure_registries, registry)
            self._options = replace(self._options, insecure_registries=names)
            self._clients.pop(registry, None)

    def impatient_client(self, registry: str, seconds: float) -> RegistryClient:
        """Return a client for what can be done without: it waits so long and tries twice."""
        options = replace(self._options, timeout_seconds=seconds, slow_seconds=seconds, tries=2)
        return RegistryClient(registry, DockerConfig.load(self._environ), options)

    def repositories(self, registry: str, digest: Digest) -> list[str]:
        """Return where in a registry a blob is known to be."""
        return [repository for host, repository in self._store.notes.origins(digest) if host == registry]

    def repo_digests(self, image: StoredImage) -> tuple[str, ...]:
        """Return where an image was pushed to or pulled from."""
        return self._store.notes.repo_digests(image.id)

    def client(self, registry: str) -> RegistryClient:
        """Return the client of one registry, made once."""
        if registry not in self._clients:
            config = DockerConfig.load(self._environ)
            self._clients.setdefault(registry, RegistryClient(registry, config, self._options))
        return self._clients[registry]

    def look_up(self, reference: Reference, platform: Platform) -> StoredImage:
        """Return what an image is, from its registry or a mirror: manifest and configuration, without layers.

        Raises RegistryError.
        """
        *mirrors, place = self.sources(reference)
        for mirror in mirrors:
            try:
                return self._look_up(
                    reference, mirror, self.impatient_client(mirror.registry, MIRROR_SECONDS), platform
                )
            except (RegistryError, CorruptError, ImageError) as exc:
                self._sink.emit(InfoMessage(message=f"mirror {mirror.name}: {exc.message}"))
        return self._look_up(reference, place, self.client(place.registry), platform)

    def sources(self, reference: Reference) -> list[Reference]:
        """Return where an image may be had, best first: the last is its own place, those before are mirrors of it."""
        registries = self._options.registries()
        for registry in registries.insecure():
            self.allow_insecure(registry)
        return registries.sources(reference)

    def alias(self, text: str) -> str:
        """Return what a short name stands for."""
        return self._options.registries().alias(text)

    def current_digest(self, reference: Reference, seconds: float) -> Digest | None:
        """Return what the registry, or a mirror, has under a tag now, None if nothing; raises RegistryError, soon."""
        *mirrors, place = self.sources(reference)
        for mirror in mirrors:
            with suppress(RegistryError, CorruptError):
                client = self.impatient_client(mirror.registry, seconds)
                reported = client.head_manifest(mirror.repository, mirror.selector)
                if reported is not None:
                    return reported
        return self.impatient_client(place.registry, seconds).head_manifest(place.repository, place.selector)

    def _look_up(
        self, reference: Reference, place: Reference, client: RegistryClient, platform: Platform
    ) -> StoredImage:
        """Return the same, from one place."""
        repository = place.repository
        fetched = client.get_manifest(repository, place.selector)
        reported = fetched.digest
        data, media_type = fetched.data, fetched.media_type
        if media_type in INDEX_TYPES or (not media_type and b'"manifests"' in data):
            chosen = self._choose(Index.decode(data, media_type), reference, platform)
            fetched = client.get_manifest(repository, str(chosen.digest))
            data, media_type = fetched.data, fetched.media_type
        manifest = Manifest.decode(data, media_type)
        unknown = [layer.media_type for layer in manifest.layers if layer.media_type not in LAYER_COMPRESSION]
        if unknown:
            raise ImageError(
                f"{reference} has a layer of type {unknown[0]}", remedy="it is not an image tiffin can use"
            )
        if manifest.config.size_bytes > MAX_DOCUMENT_BYTES:
            raise ImageError(
                f"{reference} has a configuration of {manifest.config.size_bytes} bytes", remedy="it is not an image"
            )
        others = [other for other in reversed(self.sources(reference)) if other != place]
        for descriptor in (manifest.config, *manifest.layers):
            for other in (*others, place):
                self._store.notes.add_origin(descriptor.digest, other.registry, other.repository)
        if not self._blobs.has(manifest.config.digest):
            self._download(client, repository, manifest.config)
        config = self._blobs.read(manifest.config.digest, manifest.config.size_bytes)
        image = self._store.unlisted(data, config)
        found = Resolved(manifest=image.descriptor.digest, reported=reported, asked=time.time())
        self._store.notes.keep_resolved(reference, platform, found)
        return image

    def pull(self, reference: Reference, platform: Platform) -> StoredImage:
        """Bring a whole image here, under its name."""
        image = self.look_up(reference, platform)
        self.fetch_all([BlobRef.of(layer) for layer in image.manifest.layers])
        manifest = self._blobs.read(image.descriptor.digest, image.descriptor.size_bytes)
        config = self._blobs.read(image.id, image.manifest.config.size_bytes)
        name = replace(reference, tag="") if reference.digest else reference  # as docker: a digest makes no tag
        self._store.notes.add_repo_digest(image.id, reference, self.reported_digest(reference, platform, image))
        return self._store.put(manifest, config, [name])

    def reported_digest(self, reference: Reference, platform: Platform, image: StoredImage) -> Digest:
        """Return what its registry called an image that was looked up: the digest of an index, or its own."""
        found = self._store.notes.resolved(reference, platform)
        return found.reported if found is not None else image.descriptor.digest

    def fetch_all(self, refs: Sequence[BlobRef]) -> None:
        """Bring missing blobs here, several at a time."""
        missing = [ref for ref in dict.fromkeys(refs) if not self._blobs.has(ref.digest)]
        if missing:
            with Workers(PARALLEL_TRANSFERS, "pull") as pool:
                pool.each(self.fetch, missing)

    def fetch(self, ref: BlobRef, follower: FetchObserver | None = None) -> None:
        """Bring one blob here from a repository known to have it; raises StoreError if none is known.

        A `follower` is told of what comes from a registry, not of what comes from elsewhere.
        """
        with self._state.lock(f"blob-{ref.digest.hex}"):
            if self._blobs.has(ref.digest):
                return
            origins = list(reversed(self._store.notes.origins(ref.digest)))
            if self._peers is not None and origins and self._peers.bring(ref, *origins[0], self._blobs):
                return
            if any(bring(ref) for bring in self._shared):
                return
            descriptor = Descriptor(media_type=ref.media_type, digest=ref.digest, size_bytes=ref.size_bytes)
            failure: TiffinError = StoreError("", remedy="pull or build its image again")
            for registry, repository in origins:
                if (ref.digest, registry, repository) in self._cached:
                    continue
                try:
                    self._download(self.client(registry), repository, descriptor, follower)
                    return
                except (RegistryError, CorruptError) as exc:
                    failure = exc
            raise MissingBlobError(
                failure.message or f"blob {ref.digest} is in no known registry",
                digest=str(ref.digest),
                remedy=failure.remedy,
            ) from failure

    def fetch_from(self, ref: BlobRef, registry: str, repository: str, begun: Callable[[Path], None]) -> None:
        """Bring one blob here from that repository; raises RegistryError, CorruptError.

        `begun` is told the file that grows.
        """
        descriptor = Descriptor(media_type=ref.media_type, digest=ref.digest, size_bytes=ref.size_bytes)
        self._download(self.client(registry), repository, descriptor, _BegunOnly(begun))

    def push_index(
        self, images: Sequence[StoredImage], index: Index, reference: Reference, *, by_digest: bool = False
    ) -> Digest:
        """Push the images of an index by digest, then the index under the name; its digest."""
        for image in images:
            self.push(image, reference, by_digest=True)
        data = index.encode()
        selector = str(Digest.of(data)) if by_digest or not reference.tag else reference.tag
        client = self.client(reference.registry)
        digest = client.put_manifest(reference.repository, selector, data, index.media_type)
        for image in images:
            self._store.notes.add_repo_digest(image.id, reference, digest)
        return digest

    def ask_first(self, bring: Callable[[BlobRef], bool]) -> None:
        """Ask `bring` for a blob before a registry is asked; it says whether the blob is here now."""
        self._shared.append(bring)

    def add_cached(self, digest: Digest, reference: Reference) -> None:
        """Remember that a shared cache has a blob in a repository, from where a push may mount it."""
        self._cached.add((digest, reference.registry, reference.repository))
        self._store.notes.add_origin(digest, reference.registry, reference.repository)

    def push(self, image: StoredImage, reference: Reference, *, by_digest: bool = False) -> Digest:
        """Push an image under a name, or `by_digest` only; the digest of its manifest."""
        digest = self._push(image, reference, by_digest=by_digest)
        self._store.notes.add_repo_digest(image.id, reference, digest)
        return digest

    def _push(self, image: StoredImage, reference: Reference, *, by_digest: bool) -> Digest:
        """Push the blobs, then the manifest.

        Where the repository has the manifest under any name, there is nothing to ask about its blobs.
        """
        client, repository, digest = self.client(reference.registry), reference.repository, image.descriptor.digest
        descriptors = (image.manifest.config, *image.manifest.layers)
        unique = {descriptor.digest: _plain(descriptor) for descriptor in descriptors}
        data = self._blobs.read(digest, image.descriptor.size_bytes)
        selector = str(digest) if by_digest or not reference.tag else reference.tag
        if client.has_manifest(repository, digest):
            with suppress(RegistryError):  # should it lack a blob all the same
                client.put_manifest(repository, selector, data, image.manifest.media_type)
                for descriptor in unique.values():
                    self._pushed(descriptor, reference, "exists")
                return digest
        with Workers(PARALLEL_QUESTIONS, "push") as pool:
            slots = threading.BoundedSemaphore(PARALLEL_TRANSFERS)
            pool.each(partial(self._upload, client, reference, slots), unique.values())
        return client.put_manifest(repository, selector, data, image.manifest.media_type)

    def _upload(
        self, client: RegistryClient, reference: Reference, slots: threading.BoundedSemaphore, descriptor: Descriptor
    ) -> None:
        registry, repository = reference.registry, reference.repository
        report = self._push_report(descriptor)
        ref = BlobRef(media_type=descriptor.media_type, digest=descriptor.digest, size_bytes=descriptor.size_bytes)
        sources = [
            other
            for host, other in self._store.notes.origins(descriptor.digest)
            if host == registry and other != repository
        ]

        def opener() -> BinaryIO:
            if not self._blobs.has(descriptor.digest):
                self.fetch(ref)
            return cast(BinaryIO, self._blobs.path(descriptor.digest).open("rb", buffering=0))

        outcome = client.push_blob(
            repository,
            descriptor,
            opener,
            mount_from=sources,
            progress=lambda done: report(done, False, ""),
            uploading=slots,
        )
        self._pushed(descriptor, reference, outcome)

    def _pushed(self, descriptor: Descriptor, reference: Reference, outcome: Outcome) -> None:
        """Tell that a blob is in the repository of a reference, and remember it."""
        note = {"exists": "already there", "mounted": "mounted"}.get(outcome, "")
        self._push_report(descriptor)(descriptor.size_bytes, True, note)
        self._store.notes.add_origin(descriptor.digest, reference.registry, reference.repository)

    def _push_report(self, descriptor: Descriptor) -> Callable[[int, bool, str], None]:
        return self._progress(f"push {descriptor.digest}", f"push {descriptor.digest.short}", descriptor.size_bytes)

    def _download(
        self,
        client: RegistryClient,
        repository: str,
        descriptor: Descriptor,
        follower: FetchObserver | None = None,
    ) -> None:
        report = self._progress(f"pull {descriptor.digest}", f"pull {descriptor.digest.short}", descriptor.size_bytes)
        with (
            client.get_blob(repository, descriptor) as source,
            self._blobs.ingest(descriptor.digest.algorithm) as writer,
        ):
            if follower is not None:
                follower.begun(writer.path)
            done = 0
            while data := source.read(COPY_CHUNK_BYTES):
                writer.write(data)
                done += len(data)
                report(done, False, "")
                if follower is not None:
                    follower.progressed()
            writer.commit(descriptor.digest, descriptor.size_bytes)
        report(descriptor.size_bytes, True, "")

    def _progress(self, key: str, label: str, total: int) -> Callable[[int, bool, str], None]:
        last = 0.0

        def report(done: int, finished: bool, note: str) -> None:
            nonlocal last
            now = time.monotonic()
            if finished or now - last > EVENT_INTERVAL_SECONDS:
                last = now
                self._sink.emit(
                    Transfer(key=key, label=label, done_bytes=done, total_bytes=total, finished=finished, note=note)
                )

        return report

    def _choose(self, index: Index, reference: Reference, platform: Platform) -> Descriptor:
        chosen = index.select(platform)
        if chosen is None:
            known = ", ".join(sorted({str(m.platform) for m in index.manifests if m.platform})) or "none"
            raise ImageError(f"{reference} has no image for {platform}", remedy=f"it is there for {known}")
        return chosen


class _BegunOnly:
    """A follower that is only told the file."""

    def __init__(self, begun: Callable[[Path], None]) -> None:
        self.begun = begun

    def progressed(self) -> None:
        """Do nothing: the follower watches the file itself."""


def _plain(descriptor: Descriptor) -> Descriptor:
    return Descriptor(media_type=descriptor.media_type, digest=descriptor.digest, size_bytes=descriptor.size_bytes)
