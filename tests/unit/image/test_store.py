"""Images by name and id."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.minimal_image import write_image
from tiffin.builder.errors import ImageNotFoundError
from tiffin.builder.image.resolved import MAX_ORIGINS
from tiffin.builder.image.store import ImageStore
from tiffin.builder.oci.reference import Reference
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.local import Table
from tiffin.cache.store.statedir import StateDir

COUNT = 20


class CountingBlobs(BlobStore):
    """Remembers what was read."""

    def __init__(self, state: StateDir) -> None:
        super().__init__(state)
        self.reads: list[Digest] = []

    def read(self, digest: Digest, limit: int) -> bytes:
        self.reads.append(digest)
        return super().read(digest, limit)


@pytest.fixture
def blobs(tmp_path: Path) -> CountingBlobs:
    return CountingBlobs(StateDir.open(tmp_path / "state"))


@pytest.fixture
def store(tmp_path: Path, blobs: CountingBlobs) -> Iterator[ImageStore]:
    state = StateDir.open(tmp_path / "state")
    for number in range(COUNT):
        write_image(
            state.root, {"f": "F"}, name=f"docker.io/library/i{number}:latest", config={"Labels": {"n": str(number)}}
        )
    with contextlib.closing(Table(state, pytest.fail)) as table:
        yield ImageStore(state, blobs, lambda: table)


def test_one_of_many_is_found_without_reading_the_others(store: ImageStore, blobs: CountingBlobs) -> None:
    image = store.find("i7")
    assert dict(image.config.config.labels) == {"n": "7"}
    assert len(blobs.reads) == 2  # its manifest and its configuration


def test_a_name_goes_before_an_id_that_begins_like_it(store: ImageStore, tmp_path: Path) -> None:
    by_id = store.find("i3").id.hex[:12]
    assert store.find(by_id).id == store.find("i3").id
    write_image(
        tmp_path / "state", {"f": "F"}, name=f"docker.io/library/{by_id}:latest", config={"Labels": {"n": "named"}}
    )
    assert dict(store.find(by_id).config.config.labels) == {"n": "named"}
    assert store.find(f"sha256:{store.find('i3').id.hex}").id == store.find("i3").id


@pytest.mark.parametrize("short", ["made", "made:2", "team/made"])
def test_podmans_name_of_what_was_made_here_finds_it(store: ImageStore, tmp_path: Path, short: str) -> None:
    reference = Reference.parse(short)
    write_image(tmp_path / "state", {"f": "F"}, name=str(reference))
    for text in (f"localhost/{short}", short):
        assert store.find(text).names == (reference,)
    for text in (
        f"localhost:5000/{short}",
        f"127.0.0.1/{short}",
        f"localhost/localhost/{short}",
        f"localhost/{short}x",
    ):
        with pytest.raises(ImageNotFoundError):
            store.find(text)
    store.tag(store.find("i1"), Reference.parse(f"localhost/{short}"))  # what is called so goes first
    assert store.find(f"localhost/{short}").id == store.find("i1").id


def test_podmans_name_does_not_find_what_was_pulled(store: ImageStore) -> None:
    image, digest = store.find("i1"), Digest.of(b"")
    store.notes.add_repo_digest(image.id, Reference.parse("registry.example/i1"), digest)
    assert store.find("localhost/i1").id == image.id
    store.notes.add_repo_digest(image.id, Reference.parse("i1"), digest)
    with pytest.raises(ImageNotFoundError):
        store.find("localhost/i1")


def test_what_is_not_there_is_told(store: ImageStore) -> None:
    for text in ("i99", "0123456789ab"):
        with pytest.raises(ImageNotFoundError, match=f"No such image: {text}:latest"):
            store.find(text)


def test_names_move_without_reading_the_others_again(store: ImageStore, blobs: CountingBlobs) -> None:
    first, *others = (store.find(f"i{number}") for number in range(COUNT // 2))
    blobs.reads.clear()
    for other in others:
        for name in other.names:
            store.tag(first, name)  # the other one loses its only name, and is kept under its id
    assert len(blobs.reads) <= COUNT  # a manifest of each
    assert {image.id for image in store.images()} >= {first.id, *(image.id for image in others)}
    assert all(not store.find(image.id.hex).names for image in others)


def test_of_many_repositories_of_a_blob_the_last_of_each_registry_are_kept(store: ImageStore) -> None:
    digest, notes = Digest.of(b"a base"), store.notes
    notes.add_origin(digest, "one.example", "only")
    for number in (*range(30), 25):
        notes.add_origin(digest, "two.example", f"app{number}")
    kept = notes.origins(digest)
    assert kept[0] == ("one.example", "only") and len(kept) == MAX_ORIGINS + 1
    assert kept[-3:] == (("two.example", "app28"), ("two.example", "app29"), ("two.example", "app25"))
