"""Tags that several write at once: nothing that anyone added is lost."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.fakes.registry import Fake, fake_registry
from tiffin.builder.errors import RegistryError
from tiffin.builder.image.attached import shared_tags
from tiffin.builder.image.attached.artifact import Document, referrer
from tiffin.builder.image.attached.copying import copy_attached
from tiffin.builder.image.attached.cosign_tags import manifest_of
from tiffin.builder.image.attached.places import RegistryPlace
from tiffin.builder.image.attached.referrers import push_artifact, referrers_of
from tiffin.builder.image.attached.shared_tags import change_tags
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import OCI_CONFIG, OCI_MANIFEST, Descriptor, Manifest
from tiffin.builder.registry.auth.files import DockerConfig
from tiffin.builder.registry.client import RegistryClient
from tiffin.builder.registry.transport import RegistryOptions
from tiffin.cache.foundation.digest import Digest

IMAGE = Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"image"), size_bytes=5)
SIGNERS = 6
Change = Callable[[bytes | None], bytes | None]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_tags, "PAUSE_SECONDS", 0.03)


def client_of(fake: Fake, home: Path) -> RegistryClient:
    return RegistryClient(fake.host, DockerConfig.load({"HOME": str(home)}), RegistryOptions())


def test_six_signers_at_once_lose_none(tmp_path: Path) -> None:
    with fake_registry(conditions="kept") as fake:
        clients = [client_of(fake, tmp_path) for _ in range(SIGNERS)]
        made = [
            referrer(IMAGE, Document(data=b"%d" % number, media_type="a/b", annotations={}))
            for number in range(SIGNERS)
        ]
        with ThreadPoolExecutor(SIGNERS) as pool:
            list(pool.map(push_artifact, clients, ["app"] * SIGNERS, made))
        found = {row.digest for row in referrers_of(clients[0], "app", IMAGE.digest)}
        assert found == {item.row.digest for item in made}


@pytest.mark.parametrize("conditions", ["", "broken"])
def test_who_is_overwritten_looks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conditions: str) -> None:
    """Both have read the tag before either writes it, and the registry does not tell them."""
    monkeypatch.setattr(shared_tags, "PAUSE_SECONDS", 0.4)
    both = threading.Barrier(2)

    def met() -> None:
        both.wait(20)

    with fake_registry(conditions=conditions) as fake, ThreadPoolExecutor(2) as pool:
        changes = [lines_with(word, [], met) for word in (b"one", b"two")]
        clients = [client_of(fake, tmp_path) for _ in changes]
        for done in [
            pool.submit(change_tags, client, "app", OCI_MANIFEST, {"tag": change})
            for client, change in zip(clients, changes, strict=True)
        ]:
            done.result(60)
        assert sorted(json.loads(fake.manifests["tag"][0])["lines"]) == ["one", "two"]


def test_nobody_looks_again_too_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(shared_tags, "PAUSE_SECONDS", 60)
    monkeypatch.setattr(shared_tags, "time", SimpleNamespace(sleep=pauses.append, monotonic=time.monotonic))
    left = [b"[0]", b"[1]", b"[2]", None]  # who looks finds three times that another wrote
    with fake_registry() as fake:
        change_tags(client_of(fake, tmp_path), "app", OCI_MANIFEST, {"tag": lambda data: left.pop(0)})
    first, *others = [pause / shared_tags.PAUSE_SECONDS for pause in pauses]
    assert 1 <= first <= 1.1 and len(others) == 2 and all(1 <= pause <= 1.5 for pause in others)


def lines_with(word: bytes, before: list[bytes | None], meanwhile: Callable[[], None] = lambda: None) -> Change:
    """Add a line of its own; `meanwhile` happens between its reading and its writing, the first time."""

    def add(data: bytes | None) -> bytes | None:
        before.append(data)
        if len(before) == 1:
            meanwhile()
        there = json.loads(data)["lines"] if data else []
        lines = [*there, word.decode()]
        return None if word.decode() in there else json.dumps({"schemaVersion": 2, "lines": lines}).encode()

    return add


def test_what_another_wrote_meanwhile_is_seen(tmp_path: Path) -> None:
    with fake_registry(conditions="kept") as fake:
        client = client_of(fake, tmp_path)

        def another() -> None:
            client.put_manifest("app", "tag", b'{"schemaVersion": 2, "lines": ["other"]}', OCI_MANIFEST)

        seen: list[bytes | None] = []
        change_tags(client, "app", OCI_MANIFEST, {"tag": lines_with(b"mine", seen, another)})
        assert json.loads(fake.manifests["tag"][0])["lines"] == ["other", "mine"]
        assert seen[0] is None and len(seen) == 3, "refused, written, looked at again"


def test_a_tag_that_keeps_nothing_ends_with_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PAUSE_SECONDS", 0.0), ("PATIENCE", 0), ("MAX_TRIES", 3)):
        monkeypatch.setattr(shared_tags, name, value)
    with fake_registry() as fake:
        client = client_of(fake, tmp_path)

        def drop(data: bytes | None) -> bytes | None:
            fake.manifests.pop("tag", None)
            return b'{"schemaVersion": 2}'

        with pytest.raises(RegistryError, match="does not keep what is written under the tag tag"):
            change_tags(client, "app", OCI_MANIFEST, {"tag": drop})


@pytest.mark.parametrize("times", [2, 9])
def test_a_registry_that_reads_what_another_writes_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """docker-registry 2.8, when several push a blob that is the same: 400, though all is right."""
    monkeypatch.setattr(shared_tags, "MAX_TRIES", 5)
    with fake_registry() as fake:
        client = client_of(fake, tmp_path)
        busy = [RegistryError("x: the registry answered 400: provided digest did not match uploaded content")] * times
        replace = client.replace_manifest
        monkeypatch.setattr(client, "replace_manifest", lambda *words: _raise(busy.pop()) if busy else replace(*words))

        def put(data: bytes | None) -> bytes | None:
            return b'{"schemaVersion": 2}' if data is None else None

        if times > 5:
            with pytest.raises(RegistryError, match="did not match uploaded content"):
                change_tags(client, "app", OCI_MANIFEST, {"tag": put})
        else:
            change_tags(client, "app", OCI_MANIFEST, {"tag": put})
            assert "tag" in fake.manifests


def _raise(error: RegistryError) -> bool:
    raise error


def test_a_copy_keeps_the_signatures_that_the_target_has(tmp_path: Path) -> None:
    with fake_registry() as first, fake_registry() as second:
        tag = f"sha256-{IMAGE.digest.hex}.sig"
        places = []
        for fake, words in ((first, (b"one", b"both")), (second, (b"two", b"both"))):
            layers = [Descriptor(media_type="a/b", digest=Digest.of(word), size_bytes=len(word)) for word in words]
            manifest, config = manifest_of(layers)
            for data in (*words, config):
                fake.put(data)
            fake.manifests[tag] = (manifest, OCI_MANIFEST)
            reference = Reference.parse(f"{fake.host}/app:1")
            places.append(RegistryPlace(client_of(fake, tmp_path), reference))
        for _ in range(2):
            assert copy_attached(places[0], places[1], IMAGE.digest) == 1
        merged = Manifest.decode(second.manifests[tag][0])
        assert [layer.digest for layer in merged.layers] == [Digest.of(word) for word in (b"two", b"both", b"one")]
        assert str(merged.config.digest) in second.blobs and merged.config.media_type == OCI_CONFIG
