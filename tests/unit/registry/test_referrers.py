"""Documents beside an image in a registry."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes.registry import Fake, fake_registry
from tiffin.builder.errors import RegistryError
from tiffin.builder.image.attached.artifact import Document, referrer
from tiffin.builder.image.attached.elsewhere import push_with_attached
from tiffin.builder.image.attached.referrers import push_artifact, referrers_of
from tiffin.builder.oci.json_fields import canonical
from tiffin.builder.oci.reference import Reference
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
        other = {"mediaType": OCI_MANIFEST, "digest": f"sha256:{'0' * 64}", "size": 1}
        others = {"schemaVersion": 2, "manifests": [other]}
        fake.manifests[TAG] = (json.dumps(others).encode(), OCI_INDEX)
        document = Document(data=b'{"a":1}', media_type="application/vnd.in-toto+json", annotations={"k": "v"})
        for _ in range(2):  # again is fine
            digest = push_artifact(client, "app", referrer(IMAGE, document))
        pushed = json.loads(fake.manifests[str(digest)][0])
        assert pushed["subject"] == IMAGE.to_json()
        assert fake.blobs[pushed["layers"][0]["digest"]] == b'{"a":1}'
        rows = [row["digest"] for row in json.loads(fake.manifests[TAG][0])["manifests"]]
        assert rows == [other["digest"], *([] if lists else [str(digest)])]
        found = referrers_of(client, "app", IMAGE.digest)
        assert found[-1].digest == digest and found[-1].artifact_type == "application/vnd.in-toto+json"
        assert len(found) == 1 if lists else 2
        assert found[-1].annotations == {"k": "v"}


def test_a_list_that_is_empty_is_looked_for_under_the_tag_as_well(tmp_path: Path) -> None:
    """Tools that do not know of the registry's list leave theirs under the tag, where cosign looks for it, too."""
    with fake_registry() as fake:
        client = RegistryClient(fake.host, DockerConfig.load({"HOME": str(tmp_path)}), RegistryOptions())
        document = Document(data=b'{"a":1}', media_type="application/vnd.in-toto+json", annotations={})
        digest = push_artifact(client, "app", referrer(IMAGE, document))
        data, media_type = fake.manifests.pop(str(digest))
        fake.lists_referrers = True
        assert [row.digest for row in referrers_of(client, "app", IMAGE.digest)] == [digest]
        fake.manifests[str(digest)] = (data, media_type)
        assert [row.digest for row in referrers_of(client, "app", IMAGE.digest)] == [digest]


def test_a_registry_that_takes_the_tag_for_the_digest(tmp_path: Path) -> None:
    """As GitLab's does (oras-project/oras-go issue 1396): the image's own entries do not refer to it."""
    with fake_registry() as fake:
        client = RegistryClient(fake.host, DockerConfig.load({"HOME": str(tmp_path)}), RegistryOptions())
        entry = {"mediaType": OCI_MANIFEST, "digest": f"sha256:{'1' * 64}", "size": 1}
        index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()
        subject = Descriptor(media_type=OCI_INDEX, digest=Digest.of(index), size_bytes=len(index))
        fake.manifests[f"sha256-{subject.digest.hex}"] = (index, OCI_INDEX)
        assert referrers_of(client, "app", subject.digest) == ()


@pytest.mark.parametrize("status", [403, 500])
def test_a_failure_is_not_an_empty_list(status: int, tmp_path: Path) -> None:
    """Who asks whether an image is signed is not told that it is not, where a registry is too busy to say."""
    with fake_registry() as fake:
        options = RegistryOptions(tries=1)
        client = RegistryClient(fake.host, DockerConfig.load({"HOME": str(tmp_path)}), options)
        fake.fail.append(status)
        with pytest.raises(RegistryError):
            referrers_of(client, "app", IMAGE.digest)


def pushed_with_attached(fake: Fake, home: Path, is_time: Callable[[], object]) -> None:
    """Push an image, which arrives when it is time, and an artifact that refers to it."""
    client = RegistryClient(fake.host, DockerConfig.load({"HOME": str(home)}), RegistryOptions())
    remote: Any = SimpleNamespace(client=lambda _: client)
    data = canonical({"schemaVersion": 2, "mediaType": OCI_MANIFEST})
    image = Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(data), size_bytes=len(data))
    artifact = referrer(image, Document(data=b'{"a":1}', media_type="application/vnd.in-toto+json", annotations={}))

    def push_image() -> Digest:
        deadline = time.monotonic() + 20
        while not is_time():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return client.put_manifest("app", str(image.digest), data, OCI_MANIFEST)

    name = Reference.parse(f"{fake.host}/app:1")
    assert push_with_attached(push_image, remote, name, [artifact], {}) == image.digest
    assert [row.digest for row in referrers_of(client, "app", image.digest)] == [artifact.row.digest]


@pytest.mark.parametrize("lists", [True, False])
def test_referrers_are_pushed_while_their_image_is(lists: bool, tmp_path: Path) -> None:
    with fake_registry(lists_referrers=lists) as fake:
        pushed_with_attached(fake, tmp_path, lambda: any(b"subject" in data for data, _ in fake.manifests.values()))


@pytest.mark.parametrize("lists", [True, False])
def test_a_registry_that_wants_the_image_first_gets_its_referrers_after_it(lists: bool, tmp_path: Path) -> None:
    with fake_registry(lists_referrers=lists, wants_subjects=True) as fake:
        pushed_with_attached(fake, tmp_path, lambda: fake.seen("PUT", "/manifests/"))
