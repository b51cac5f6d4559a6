"""What other machines bring into shared caches is believed where it is sure to be the same place."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes.shared_store import MemoryStore
from tests.fakes.sink import RecordingSink
from tiffin.builder.sharing import caches
from tiffin.builder.sharing.caches import SharedCaches
from tiffin.builder.sharing.options import CacheSpec
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.shared.signing import Unsigned
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.snapshots import BlobRef
from tiffin.cache.store.statedir import StateDir
from tiffin.cache.trust import Trust

REF = BlobRef(media_type="t", digest=Digest.of(b"layer"), size_bytes=5)


@pytest.mark.parametrize(
    ("place", "mode", "for_target", "is_asked"),
    [
        ("registry.example/x:cache", "max", False, False),
        ("registry.example/x:cache", "min", True, False),
        ("registry.example/x:cache", "min", False, True),
        ("localhost:5000/x:cache", "max", True, True),
        ("", "max", True, True),
    ],
)
def test_a_layer_that_a_worker_brought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, mode: str, for_target: bool, is_asked: bool
) -> None:
    store, state = MemoryStore(), StateDir.open(tmp_path)
    store.repository = place
    store.blobs[REF.digest] = b"layer"
    monkeypatch.setattr(caches, "KINDS", {"registry": SimpleNamespace(open_store=lambda options: store)})
    layers: Any = SimpleNamespace(snapshots=SimpleNamespace(idmap_tag="x"))
    remote: Any = SimpleNamespace(ask_first=lambda bring: None)
    shared = SharedCaches(
        [CacheSpec(kind="registry", place="x", reads=False, writes=True, mode=mode)],
        blobs=BlobStore(state), layers=layers, remote=lambda: remote, sink=RecordingSink(), signer=Unsigned(),
        trust=Trust({}),
    )  # fmt: skip
    shared.was_brought(REF, for_target=for_target)
    assert shared.settle({REF: True})
    assert ("has_blob" in store.log) is is_asked


def test_layers_that_do_not_come_into_a_cache_are_not_told_of_as_if_they_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, state = MemoryStore(room=1), StateDir.open(tmp_path)
    blobs = BlobStore(state)
    blobs.put(b"layer")
    monkeypatch.setattr(caches, "KINDS", {"registry": SimpleNamespace(open_store=lambda options: store)})
    layers: Any = SimpleNamespace(snapshots=SimpleNamespace(idmap_tag="x"))
    remote: Any = SimpleNamespace(ask_first=lambda bring: None)
    shared = SharedCaches(
        [CacheSpec(kind="registry", place="x", reads=False, writes=True, mode="max")],
        blobs=blobs, layers=layers, remote=lambda: remote, sink=RecordingSink(), signer=Unsigned(), trust=Trust({}),
    )  # fmt: skip
    assert not shared.settle({REF: True})
