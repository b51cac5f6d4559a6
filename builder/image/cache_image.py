"""A shared cache in a registry: an OCI artifact whose configuration is the bundle of records, its layers the steps' layers.

Plain manifests and blobs, so any registry does (docker-registry 2.8 among them), and one manifest answers for a whole build.
"""

from __future__ import annotations

from builder.errors import NotInRegistryError
from builder.image.remote import Remote
from builder.oci.reference import Reference
from builder.oci.spec import Descriptor, Manifest
from cache.blobs import BlobStore
from cache.bundle import MAX_BUNDLE_BYTES, Bundle
from cache.digest import Digest
from cache.errors import CorruptError

CONFIG_TYPE = "application/vnd.tiffin.cache.v1+json"


class RegistryBundles:
    """The bundle under one reference."""

    def __init__(self, remote: Remote, blobs: BlobStore, reference: Reference) -> None:
        self._remote = remote
        self._blobs = blobs
        self._reference = reference

    def load(self) -> Bundle | None:
        """None where there is none yet; raises RegistryError, CorruptError. Its layers can be fetched from then on."""
        client, repository = self._remote.client(self._reference.registry), self._reference.repository
        try:
            fetched = client.get_manifest(repository, self._reference.selector)
        except NotInRegistryError:
            return None
        manifest = Manifest.decode(fetched.data, fetched.media_type)
        if manifest.config.media_type != CONFIG_TYPE or manifest.config.size_bytes > MAX_BUNDLE_BYTES:
            raise CorruptError(f"{self._reference} is no tiffin cache", remedy="name another reference")
        with client.get_blob(repository, manifest.config) as stream:
            bundle = Bundle.decode(stream.read(MAX_BUNDLE_BYTES + 1))
        there = {layer.digest for layer in manifest.layers}
        for _, ref in bundle.layers():
            if ref.digest in there:
                self._remote.add_origin(ref.digest, self._reference)
        return Bundle(
            {key: record for key, record in bundle.records.items() if record.layer and record.layer.digest in there}
        )

    def save(self, bundle: Bundle) -> None:
        """Push layers that are not there, then the records; raises RegistryError, StoreError."""
        data = bundle.encode()
        self._blobs.put(data)
        config = Descriptor(media_type=CONFIG_TYPE, digest=Digest.of(data), size_bytes=len(data))
        layers = tuple(
            Descriptor(media_type=ref.media_type, digest=ref.digest, size_bytes=ref.size_bytes)
            for _, ref in bundle.layers()
        )
        self._remote.push_artifact(Manifest(config=config, layers=layers), self._reference)
        self._blobs.delete(config.digest)
