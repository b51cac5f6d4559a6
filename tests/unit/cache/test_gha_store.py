"""GitHub's cache service: branches, numbers that are swapped, what it refuses, large layers."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator

import pytest

from tests.fakes.actions_cache import ActionsCache, Entry, actions_cache
from tiffin.cache.errors import UsageError
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.shared.protocol import StoreOptions, UnavailableError
from tiffin.cache.shared.stores import gha
from tiffin.cache.shared.stores.gha import ActionsStore, open_store
from tiffin.cache.store.snapshots import BlobRef
from tiffin.cache.trust import Trust


@pytest.fixture
def service() -> Iterator[ActionsCache]:
    with actions_cache() as fake:
        yield fake


def store(service: ActionsCache, token: str = "main-token", scope: str = "app") -> ActionsStore:
    return ActionsStore(scope, url=service.address, token=token, timeout_seconds=5)


def row(number: int) -> dict[str, bytes]:
    return {f"{number:064x}": b'{"created":"2026-01-01T00:00:00Z","layer":{"size":1}}'}


def ref(data: bytes) -> BlobRef:
    return BlobRef(media_type="x", digest=Digest.of(data), size_bytes=len(data))


def test_a_branch_reads_the_default_one_and_writes_its_own(service: ActionsCache) -> None:
    service.tokens["branch-token"] = ["feature", "main"]
    main, feature = store(service), store(service, "branch-token")
    main.write(row(1))
    feature.write(row(2))
    assert set(feature.read([])) == set(row(1) | row(2)) and set(main.read([])) == set(row(1))
    assert feature.list_names() and [entry.branch for entry in service.entries] == ["main", "feature"]
    assert set(store(service, scope="other").read([])) == set()


@pytest.mark.thorough
def test_builders_at_once_lose_no_rows(service: ActionsCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gha, "PAUSE_SECONDS", 0.01)
    threads = [threading.Thread(target=store(service).write, args=(row(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store(service).read([])) == 8


def test_a_number_that_a_killed_builder_began_is_passed_over(
    service: ActionsCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gha, "PAUSE_SECONDS", 0)
    service.entries.append(Entry("tiffin-index-app#1", gha.VERSION, "main"))
    store(service).write(row(1))
    assert service.entries[-1].key == "tiffin-index-app#2" and set(store(service).read([])) == set(row(1))


def test_large_layers_go_up_in_blocks(service: ActionsCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gha, "BLOCK_BYTES", 1000)
    data = bytes(range(256)) * 10
    assert store(service).write_blob(ref(data), lambda: io.BytesIO(data))
    assert len(service.entries[0].blocks) == 3
    found = store(service).read_blob(ref(data))
    assert found is not None and b"".join(iter(lambda: found.read(700), b"")) == data
    with pytest.raises(UnavailableError, match="shorter"):
        store(service).write_blob(ref(data + b"x"), lambda: io.BytesIO(data))


def test_what_was_removed_behind_its_entry_is_not_there(service: ActionsCache) -> None:
    store(service).write_blob(ref(b"x"), lambda: io.BytesIO(b"x"))
    store(service).write(row(1))
    for entry in service.entries:
        entry.is_lost = True
    assert store(service).read_blob(ref(b"x")) is None and store(service).read([]) == {}


def test_what_the_service_refuses_is_told(service: ActionsCache) -> None:
    service.tokens["fork"], service.readers = ["fork", "main"], {"fork"}
    store(service).write(row(1))
    assert set(store(service, "fork").read([])) == set(row(1))
    with pytest.raises(UnavailableError, match="read only"):
        store(service, "fork").write(row(2))
    with pytest.raises(UnavailableError, match="token is not valid"):
        store(service, "none").read([])
    service.statuses = [429, 503]
    assert store(service).read([]), "it asks again"
    service.statuses = [500] * gha.TRIES
    with pytest.raises(UnavailableError, match="too many requests"):
        store(service).read([])
    service.statuses = [404]
    with pytest.raises(UnavailableError, match="no cache service of version 2"):
        store(service).write(row(2))
    service.entries[0].data = b"{"
    assert store(service).read([]) == {}, "a damaged document is begun anew"
    with pytest.raises(UnavailableError, match="connection failed"):
        ActionsStore("app", url="http://127.0.0.1:1", token="t", timeout_seconds=1).read([])


def test_the_variables_of_a_job_say_where(service: ActionsCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def options(**given: str) -> StoreOptions:
        return StoreOptions(
            place="app", timeout_seconds=5, registry=lambda _: store(service), trust=Trust({}), options=given
        )

    for name in ("ACTIONS_RESULTS_URL", "ACTIONS_RUNTIME_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="needs ACTIONS_RESULTS_URL"):
        open_store(options())
    with pytest.raises(UsageError, match="version 1"):
        open_store(options(url="http://old", token="t"))
    monkeypatch.setenv("ACTIONS_RESULTS_URL", service.address)
    monkeypatch.setenv("ACTIONS_RUNTIME_TOKEN", "main-token")
    open_store(options()).write(row(1))
    assert set(open_store(options(url_v2=service.address, token="main-token")).read([])) == set(row(1))
