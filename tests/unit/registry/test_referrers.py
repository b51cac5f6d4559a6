"""Documents beside an image in a registry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.registry import fake_registry
from tiffin.builder.image.referrers import push_referrer
from tiffin.builder.oci.spec import OCI_INDEX, OCI_MANIFEST, Descriptor
from tiffin.builder.registry.auth.files import DockerConfig
from tiffin.builder.registry.client import RegistryClient
from tiffin.builder.registry.transport import RegistryOptions
from tiffin.cache.foundation.digest import Digest

IMAGE = Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"image"), size_bytes=5)
TAG = f"sha256-{IMAGE.digest.hex}"


@pytest.mark.parametrize("lists", [True, False])
def test_a_referrer_is_listed_by_the_registry_or_by_a_tag(lists: bool, tmp_path: Path) -> None:
    with fake_registry(lists_referrers=lists) as fake:
        client = RegistryClient(fake.host, DockerConfig.load({"HOME": str(tmp_path)}), RegistryOptions())
        others = {"schemaVersion": 2, "manifests": [{"digest": "sha256:other"}]}
        fake.manifests[TAG] = (json.dumps(others).encode(), OCI_INDEX)
        for _ in range(2):  # again is fine
            digest = push_referrer(client, "app", IMAGE, b'{"a":1}', "application/vnd.in-toto+json", {"k": "v"})
        document = json.loads(fake.manifests[str(digest)][0])
        assert document["subject"] == IMAGE.to_json()
        assert fake.blobs[document["layers"][0]["digest"]] == b'{"a":1}'
        rows = [row["digest"] for row in json.loads(fake.manifests[TAG][0])["manifests"]]
        assert rows == ["sha256:other", *([] if lists else [str(digest)])]
