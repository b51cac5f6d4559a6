"""How layers come into a cache in a registry: with as few requests as it takes."""

from __future__ import annotations

import io
from pathlib import Path

from tests.fakes.registry import Fake, fake_registry
from tiffin.builder.image.cache_image import RegistryStore
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import OCI_LAYER_GZIP
from tiffin.builder.registry.auth.files import DockerConfig
from tiffin.builder.registry.client import RegistryClient
from tiffin.builder.registry.transport import RegistryOptions
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.snapshots import BlobRef

DATA = b"a layer"
REF = BlobRef(media_type=OCI_LAYER_GZIP, digest=Digest.of(DATA), size_bytes=len(DATA))


def store_of(fake: Fake, place: Path) -> RegistryStore:
    config = DockerConfig.load({"DOCKER_CONFIG": str(place), "PATH": ""})
    client = RegistryClient(fake.host, config, RegistryOptions(back_off_seconds=0.001))
    return RegistryStore(client, Reference.parse(f"{fake.host}/x:cache"), timeout_seconds=5)


def questions(fake: Fake) -> int:
    return len(fake.seen("HEAD", f"/blobs/{REF.digest}"))


def test_a_layer_that_was_found_missing_is_not_asked_for_again(tmp_path: Path) -> None:
    with fake_registry() as fake:
        store = store_of(fake, tmp_path)
        assert not store.has_blob(REF)
        assert store.write_blob(REF, lambda: io.BytesIO(DATA))
        assert fake.blobs[str(REF.digest)] == DATA and questions(fake) == 1
        assert store.has_blob(REF) and questions(fake) == 2


def test_another_try_asks_whether_the_layer_has_come_meanwhile(tmp_path: Path) -> None:
    with fake_registry() as fake:
        store = store_of(fake, tmp_path)
        assert not store.has_blob(REF)
        store.write_blob(REF, lambda: io.BytesIO(DATA))
        uploads = len(fake.seen("POST", "/blobs/uploads/"))
        store.write_blob(REF, lambda: io.BytesIO(DATA))
        assert questions(fake) == 2 and len(fake.seen("POST", "/blobs/uploads/")) == uploads
