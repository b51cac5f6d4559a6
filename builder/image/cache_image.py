"""A shared cache in a registry: an OCI artifact whose configuration is a bundle of rows, its layers the steps' layers.

An image may hold a bundle too, of its own steps, in its configuration (`inline`); it is only read here.

Plain manifests and blobs, so any registry does (docker-registry 2.8 among them), and one manifest answers for a whole
build: it carries its configuration.
"""

from __future__ import annotations

import base64
import io
import random
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO, cast

from tiffin.builder.errors import ImageError, NotInRegistryError, RegistryError, UnauthorizedError
from tiffin.builder.oci.config import ImageConfig
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import (
    DOCKER_CONFIG,
    INDEX_TYPES,
    MAX_DOCUMENT_BYTES,
    OCI_CONFIG,
    Descriptor,
    Index,
    Manifest,
)
from tiffin.builder.registry.client import RegistryClient
from tiffin.cache.errors import CorruptError
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.shared.bundle import MAX_BUNDLE_BYTES, Bundle
from tiffin.cache.shared.deadline import CacheNotFoundError
from tiffin.cache.shared.protocol import SharedStore
from tiffin.cache.shared.stall import MinimumRateReader
from tiffin.cache.store.snapshots import BlobRef

CONFIG_TYPE = "application/vnd.tiffin.cache.v1+json"
EMBEDDED = "vnd.tiffin.cache.v1.config"  # an annotation: the configuration by zlib, in base64
MAX_EMBEDDED_BYTES = 1 << 20  # registries take manifests of 4 MiB, and the layers need room too
MAX_IMAGES = 16  # of an index whose inline caches are read
RACES = 6  # tries to add rows while other builders do the same
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.1, 1.0  # between them, by chance: those who met part


class RegistryStore(SharedStore):
    """The rows and blobs under one reference. `origins` gives other repositories of the same
    registry that have a blob, to mount it from."""

    name = "registry"

    def __init__(
        self,
        client: RegistryClient,
        reference: Reference,
        *,
        timeout_seconds: float,
        ttl_seconds: float = 0,
        origins: Callable[[Digest], Sequence[str]] = lambda digest: (),
    ) -> None:
        self.place = self.repository = str(reference)
        self._reference = reference
        self._client = client
        self._repository = reference.repository
        self._timeout = timeout_seconds
        self._ttl = ttl_seconds
        self._origins = origins
        self._missing: set[Digest] = set()  # blobs that were asked for, and are not there

    def read(self, names: Sequence[str]) -> Mapping[str, bytes]:
        """Return all rows, in one request, or two where they are many; of an image, those it holds."""
        bundle = self._load(images=True)
        if bundle is None:
            raise CacheNotFoundError("it is not there yet", remedy="fill it with --cache-to")
        if not bundle.rows:
            raise CacheNotFoundError(
                "it holds no steps", remedy="fill it with --cache-to, or build the image with --cache-to type=inline"
            )
        return bundle.rows

    def write(self, rows: Mapping[str, bytes]) -> None:
        """Put a manifest with the rows that are there and these. Another builder's, put in between, are taken up."""
        for number in range(RACES):
            if number:
                time.sleep(random.uniform(MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS))
            try:
                if self._add(Bundle(rows)):
                    return
            except UnauthorizedError:
                raise
            except RegistryError:  # docker-registry says 400 and 500 while another writes the link it reads
                if number == RACES - 1:
                    raise

    def _add(self, mine: Bundle) -> bool:
        """Put a manifest with these rows too; whether no other replaced it at once."""
        try:
            before = self._load()
        except CorruptError:
            before = None
        digest = self._push(before.merged(mine, self._ttl) if before is not None else mine)
        return self._client.head_manifest(self._repository, self._reference.selector) == digest

    def known(self, names: Sequence[str]) -> frozenset[str]:
        try:
            bundle = self._load()
        except CorruptError:
            return frozenset()  # begun anew
        return frozenset(names) & bundle.rows.keys() if bundle is not None else frozenset()

    def has_blob(self, ref: BlobRef) -> bool:
        is_there = self._client.has_blob(self._repository, ref.digest)
        if not is_there:
            self._missing.add(ref.digest)
        return is_there

    def read_blob(self, ref: BlobRef) -> BinaryIO | None:
        try:
            response, _ = self._client.open_blob(self._repository, _descriptor(ref), 0)
        except NotInRegistryError:
            return None
        return cast(BinaryIO, MinimumRateReader(response.raw, response.close, self._timeout))

    def write_blob(self, ref: BlobRef, open_blob: Callable[[], BinaryIO]) -> bool:
        sources = [name for name in self._origins(ref.digest) if name != self._repository]
        is_missing = ref.digest in self._missing
        self._missing.discard(ref.digest)  # another try asks again
        self._client.push_blob(self._repository, _descriptor(ref), open_blob, mount_from=sources, is_missing=is_missing)
        return True

    def _load(self, *, images: bool = False) -> Bundle | None:
        """Return the rows; None where there are none yet; raises RegistryError, CorruptError.

        Rows whose layer is gone are left out.
        """
        try:
            fetched = self._client.get_manifest(self._repository, self._reference.selector)
        except NotInRegistryError:
            return None
        if images and fetched.media_type in INDEX_TYPES:
            return self._of_index(Index.decode(fetched.data, fetched.media_type))
        manifest = Manifest.decode(fetched.data, fetched.media_type)
        if images and manifest.config.media_type in (OCI_CONFIG, DOCKER_CONFIG):
            return self._of_image(manifest)
        if manifest.config.media_type != CONFIG_TYPE or manifest.config.size_bytes > MAX_BUNDLE_BYTES:
            raise CorruptError(f"{self._reference} is not a tiffin cache", remedy="name another reference")
        data = _embedded(manifest)
        if data is None:
            with self._client.get_blob(self._repository, manifest.config) as stream:
                data = stream.read(MAX_BUNDLE_BYTES + 1)
        return Bundle.decode(data).only({layer.digest for layer in manifest.layers})

    def _of_index(self, index: Index) -> Bundle:
        """Return the inline caches of an image for several platforms."""
        found = Bundle({})
        for descriptor in index.manifests[:MAX_IMAGES]:
            fetched = self._client.get_manifest(self._repository, str(descriptor.digest))
            found = found.merged(self._of_image(Manifest.decode(fetched.data, fetched.media_type)))
        return found

    def _of_image(self, manifest: Manifest) -> Bundle:
        """Return the inline cache of an image, empty if it holds none."""
        if manifest.config.size_bytes > MAX_DOCUMENT_BYTES:
            raise CorruptError(f"{self._reference} has too large a configuration", remedy="name another reference")
        with self._client.get_blob(self._repository, manifest.config) as stream:
            data = stream.read(MAX_DOCUMENT_BYTES + 1)
        try:
            config = ImageConfig.decode(data)
        except ImageError as exc:
            raise CorruptError(exc.message, remedy=exc.remedy) from exc
        if not config.inline_cache:
            return Bundle({})
        bundle = Bundle.decode(_unpacked_text(config.inline_cache, MAX_BUNDLE_BYTES))
        forms = {diff_id: BlobRef.of(layer) for diff_id, layer in zip(config.diff_ids, manifest.layers, strict=False)}
        return bundle.repacked(forms).only({layer.digest for layer in manifest.layers})

    def _push(self, bundle: Bundle) -> Digest:
        data = bundle.encode()
        config = Descriptor(media_type=CONFIG_TYPE, digest=Digest.of(data), size_bytes=len(data))
        self.write_blob(
            BlobRef(media_type=CONFIG_TYPE, digest=config.digest, size_bytes=len(data)),
            lambda: io.BytesIO(data),
        )
        text = _packed_text(data)
        manifest = Manifest(
            config=config,
            layers=tuple(_descriptor(ref) for ref in bundle.layers()),
            annotations={EMBEDDED: text} if len(text) <= MAX_EMBEDDED_BYTES else {},
        )
        return self._client.put_manifest(
            self._repository, self._reference.selector, manifest.encode(), manifest.media_type
        )


def _embedded(manifest: Manifest) -> bytes | None:
    """Return the configuration, where the manifest holds it as well: one request less.

    None if it does not, or holds another.
    """
    data = _unpacked_text(manifest.annotations.get(EMBEDDED, ""), manifest.config.size_bytes)
    return data if Digest.of(data, manifest.config.digest.algorithm) == manifest.config.digest else None


def inline(rows: Mapping[str, bytes]) -> str:
    """Return rows as the configuration of an image holds them."""
    return _packed_text(Bundle(rows).encode())


def _packed_text(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


def _unpacked_text(text: str, limit: int) -> bytes:
    """Return what `_packed_text` made a text of, one byte more than the limit at most; nothing of what is no such
    text.
    """
    try:
        return zlib.decompressobj().decompress(base64.b64decode(text, validate=True), limit + 1)
    except (ValueError, zlib.error):
        return b""


def _descriptor(ref: BlobRef) -> Descriptor:
    return Descriptor(media_type=ref.media_type, digest=ref.digest, size_bytes=ref.size_bytes)
