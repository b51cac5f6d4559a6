"""A layer that is not here is indexed while it arrives; a lying source is found out, and the next one is read anew."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tiffin.builder.errors import CorruptError, MissingBlobError
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.image.streaming_fetch import FetchObserver
from tiffin.builder.layer.change import Change
from tiffin.builder.layer.index import LayerIndex, new_entry
from tiffin.builder.layer.pack import pack
from tiffin.builder.oci.spec import OCI_LAYER
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.snapshots import BlobRef, Snapshots
from tiffin.cache.store.statedir import StateDir

TRUTH, LIE = b"true " * 2000, b"liar " * 2000


def packed(content: bytes) -> tuple[bytes, LayerIndex]:
    tar = io.BytesIO()
    entry = new_entry("file", "file", 0o644)._replace(size=len(content))
    index = pack([Change(entry=entry, open=lambda: io.BytesIO(content))], tar)
    return tar.getvalue(), index


class Source:
    """Origins that are tried in turn: each gives what it has for the blob."""

    def __init__(self, state: StateDir, *answers: bytes) -> None:
        self.blobs = BlobStore(state)
        self._answers = answers

    def fetch(self, ref: BlobRef, follower: FetchObserver | None) -> None:
        failure: CorruptError | None = None
        for answer in self._answers:
            try:
                with self.blobs.ingest() as writer:
                    if follower:
                        follower.begun(writer.path)
                    writer.write(answer)
                    writer.commit(ref.digest, ref.size_bytes)
                return
            except CorruptError as exc:
                failure = exc
        assert failure is not None
        raise failure


def store_of(tmp_path: Path, *answers: bytes) -> tuple[LayerStore, BlobStore]:
    state = StateDir.open(tmp_path / "state")
    source = Source(state, *answers)
    return LayerStore(state, source.blobs, Snapshots(state), source.fetch), source.blobs


(GOOD, TABLE), EVIL = packed(TRUTH), packed(LIE)[0]
REF = BlobRef(media_type=OCI_LAYER, digest=Digest.of(GOOD), size_bytes=len(GOOD))


@pytest.mark.parametrize("answers", [(GOOD,), (EVIL, GOOD), (EVIL[:700], GOOD), (b"", GOOD), (b"no tar" * 1000, GOOD)])
def test_the_table_is_that_of_the_verified_layer(tmp_path: Path, answers: tuple[bytes, ...]) -> None:
    layers, blobs = store_of(tmp_path, *answers)
    assert layers.ensure_index(REF.digest, REF).encode() == TABLE.encode()
    assert blobs.has(REF.digest)


@pytest.mark.parametrize("answer", [EVIL, GOOD[:-1], GOOD + b"x", b""])
def test_nothing_is_kept_of_a_layer_that_is_not_what_it_should_be(tmp_path: Path, answer: bytes) -> None:
    layers, blobs = store_of(tmp_path, answer)
    with pytest.raises(CorruptError):
        layers.ensure_index(REF.digest, REF)
    assert not blobs.has(REF.digest)
    assert layers.snapshots.read_index(REF.digest) is None


def test_a_blob_that_is_here_and_no_such_layer_is_never_read_to_its_end(tmp_path: Path) -> None:
    """Verified by its own digest it is; a record said that it is another layer."""
    layers, blobs = store_of(tmp_path)
    blobs.put(EVIL)
    ref = BlobRef(media_type=OCI_LAYER, digest=Digest.of(EVIL), size_bytes=len(EVIL))
    with pytest.raises(CorruptError, match="wrong content"), layers.open_tar(REF.digest, ref) as tar:
        assert tar.read()
    layers.unverified.add(ref.digest)
    with pytest.raises(MissingBlobError) as caught, layers.open_tar(REF.digest, ref) as tar:
        assert tar.read()
    assert caught.value.digest == str(ref.digest), "a shared cache that lied is not told from a damaged store"
