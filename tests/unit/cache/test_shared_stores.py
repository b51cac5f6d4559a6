"""The contract of shared stores, kept by every kind and by the one in memory that other tests use."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes.actions_cache import ActionsCache, actions_cache
from tests.fakes.redis import FakeRedis, fake_redis
from tests.fakes.shared_store import MemoryStore
from tests.fakes.web_store import WebStore, web_store
from tiffin.builder.sharing.options import parse_cache
from tiffin.cache.errors import StoreError, UsageError
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.shared.deadline import CacheNotFoundError
from tiffin.cache.shared.protocol import MAX_ROW_BYTES, SharedStore, StoreOptions, UnavailableError
from tiffin.cache.shared.stores.azblob import AzureStore
from tiffin.cache.shared.stores.azblob import open_store as open_azure
from tiffin.cache.shared.stores.directory import LEFT_SECONDS, DirectoryStore
from tiffin.cache.shared.stores.gha import ActionsStore
from tiffin.cache.shared.stores.http import HttpStore, place_of
from tiffin.cache.shared.stores.redis import RedisStore
from tiffin.cache.shared.stores.s3 import S3Store
from tiffin.cache.store.snapshots import BlobRef
from tiffin.cache.trust import Trust

KINDS = ("memory", "dir", "http", "redis", "redis and dir", "s3", "gha", "azblob")
ROWS = {"0a" * 32: b'{"layer":{"size":1}}', "0b" * 32: b'{"layer":{"size":2}}'}
MISSING = "0c" * 32
DATA = b"layer" * 1000
SECONDS = 5.0
AWS = {
    "aws_access_key_id": "who", "aws_secret_access_key": "s3cret", "region_name": "here",
}  # fmt: skip


def ref(data: bytes = DATA) -> BlobRef:
    return BlobRef(media_type="application/octet-stream", digest=Digest.of(data), size_bytes=len(data))


def opener(data: bytes = DATA) -> Callable[[], io.BytesIO]:
    return lambda: io.BytesIO(data)


@pytest.fixture
def web() -> Iterator[WebStore]:
    with web_store() as web:
        yield web


@pytest.fixture
def redis() -> Iterator[FakeRedis]:
    with fake_redis() as redis:
        yield redis


def s3(web: WebStore, **changes: str) -> S3Store:
    options: Mapping[str, str] = {"endpoint_url": web.address, **AWS, **changes}
    return S3Store("bucket", prefix="team/", timeout_seconds=SECONDS, path_style=True, options=options)


def azure(web: WebStore, **changes: str) -> AzureStore:
    given = {"container": "cache", "prefix": "team/", "key": "czNjcmV0", **changes}
    return AzureStore(f"{web.address}/account", timeout_seconds=SECONDS, **given)


def gha(fake: ActionsCache, token: str = "main-token", scope: str = "app") -> ActionsStore:
    return ActionsStore(scope, url=fake.address, token=token, timeout_seconds=SECONDS)


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SharedStore]:
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")  # the fake reads no trailers
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with ExitStack() as stack:
        match request.param:
            case "memory":
                yield MemoryStore()
            case "dir":
                yield DirectoryStore(tmp_path / "cache")
            case "http":
                yield HttpStore(stack.enter_context(web_store()).address, timeout_seconds=SECONDS)
            case "redis":
                yield RedisStore(stack.enter_context(fake_redis()).url, timeout_seconds=SECONDS)
            case "redis and dir":
                url = stack.enter_context(fake_redis()).url
                layers = DirectoryStore(tmp_path / "cache")
                yield RedisStore(url, timeout_seconds=SECONDS, max_blob_bytes=10, layers=layers)
            case "gha":
                yield gha(stack.enter_context(actions_cache()))
            case "azblob":
                yield azure(stack.enter_context(web_store()))
            case _:
                yield s3(stack.enter_context(web_store()))


every_kind = pytest.mark.parametrize("store", KINDS, indirect=True)


@pytest.mark.thorough
@every_kind
def test_rows_that_were_written_are_read_and_known_and_others_are_not(store: SharedStore) -> None:
    store.write(ROWS)
    assert dict(store.read([*ROWS, MISSING])) == ROWS
    assert store.known([*ROWS, MISSING]) == frozenset(ROWS)


@pytest.mark.thorough
@every_kind
def test_a_row_that_is_written_again_is_the_new_one(store: SharedStore) -> None:
    name = next(iter(ROWS))
    store.write(ROWS)
    store.write({name: b'{"layer":{"size":3}}'})
    assert store.read([name])[name] == b'{"layer":{"size":3}}'


@pytest.mark.thorough
@every_kind
def test_blobs_come_back_as_they_were_and_absent_ones_are_none(store: SharedStore) -> None:
    assert not store.has_blob(ref())
    assert store.read_blob(ref()) is None
    assert store.write_blob(ref(), opener())
    assert store.has_blob(ref())
    stream = store.read_blob(ref())
    assert stream is not None
    with stream:
        assert b"".join(iter(lambda: stream.read(1000), b"")) == DATA


@every_kind
def test_the_place_says_where_without_credentials(store: SharedStore) -> None:
    assert store.name and store.place and "s3cret" not in store.place


@pytest.mark.thorough
@every_kind
def test_answers_stored_for_a_question_are_as_good_as_rows(store: SharedStore) -> None:
    store.write(ROWS)
    store.write_answer([*ROWS, MISSING], ROWS)
    assert dict(store.read([*ROWS, MISSING])) == ROWS


def test_azure_says_what_is_wrong(web: WebStore) -> None:
    web.statuses = [201, 403, 403]
    with pytest.raises(UnavailableError, match="refused"):
        azure(web).read(list(ROWS))
    with pytest.raises(UnavailableError, match="connection failed"):
        AzureStore("http://127.0.0.1:1/a", container="cache", prefix="", key="czNjcmV0", timeout_seconds=1).has_blob(
            ref()
        )


def test_azure_is_found_by_the_variables_of_buildkit(web: WebStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILDKIT_AZURE_STORAGE_CONTAINER", "other")
    monkeypatch.setenv("BUILDKIT_AZURE_STORAGE_SECRET_ACCESS_KEY", "czNjcmV0")
    monkeypatch.setenv("BUILDKIT_AZURE_STORAGE_ACCOUNT_URL", f"{web.address}/account")
    spec = parse_cache("type=azblob,prefix=p/", "--cache-to", "wo")
    options = StoreOptions(
        place=spec.place,
        timeout_seconds=SECONDS,
        registry=lambda _: MemoryStore(),
        trust=Trust({}),
        options=spec.options,
    )
    store = open_azure(options)
    store.write(ROWS)
    assert f"/account/other/p/ac/{next(iter(ROWS))}" in web.files and "?" not in store.place
    assert parse_cache("type=gha", "--cache-from", "ro").place == "buildkit"


# -- directories
# -----------------------------------------------------------------------------------------------------------


def test_a_directory_that_is_not_there_is_absent_and_not_broken(tmp_path: Path) -> None:
    with pytest.raises(CacheNotFoundError):
        DirectoryStore(tmp_path / "none").read(list(ROWS))


def test_a_directory_has_whole_files_for_everybody(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.write(ROWS)
    store.write_blob(ref(), opener())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3 and {path.stat().st_mode & 0o777 for path in files} == {0o644}
    assert sorted(store.list_names()) == sorted(ROWS)

    def broken() -> io.BytesIO:
        raise UnavailableError("the source is gone", remedy="again")

    with pytest.raises(UnavailableError):
        store.write_blob(ref(b"other"), broken)
    assert not store.has_blob(ref(b"other")) and list((tmp_path / "tmp").iterdir()) == []


def test_a_blob_of_another_length_is_none(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.write_blob(ref(), opener())
    place = tmp_path / "blobs" / "sha256" / ref().digest.hex
    place.write_bytes(DATA[:-1])
    assert not store.has_blob(ref())


def test_what_nobody_used_for_its_time_goes_and_what_is_asked_for_stays(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path, ttl_seconds=1000)
    store.write(ROWS)
    store.write_blob(ref(), opener())
    old, kept = ROWS
    for path in tmp_path.rglob("*"):
        if path.is_file():
            os.utime(path, (1, 1))
    assert store.known([kept]) == {kept} and store.has_blob(ref())
    store.write({})
    assert set(store.read([old, kept])) == {kept} and store.has_blob(ref())


def test_what_a_killed_builder_left_goes_after_a_day(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    for name, age in (("new", 10), ("old", LEFT_SECONDS + 10)):
        (tmp_path / "tmp" / name).write_text("")
        moment = (tmp_path / "tmp" / name).stat().st_mtime - age
        os.utime(tmp_path / "tmp" / name, (moment, moment))
    DirectoryStore(tmp_path).write(ROWS)
    assert [path.name for path in (tmp_path / "tmp").iterdir()] == ["new"]


def test_links_and_fifos_in_a_directory_are_nothing(tmp_path: Path) -> None:
    store, name = DirectoryStore(tmp_path), next(iter(ROWS))
    store.write(ROWS)
    row = tmp_path / "records" / name[:2] / name
    row.unlink()
    os.mkfifo(row)
    assert name not in store.read([name])
    (tmp_path / "records" / "0c").symlink_to(tmp_path)
    with pytest.raises(StoreError, match=r"Not a directory|symbolic links"):
        store.write({MISSING: b"x"})


# -- HTTP
# ------------------------------------------------------------------------------------------------------------------


def test_http_asks_once_more_where_the_answer_allows_that(web: WebStore) -> None:
    store = HttpStore(web.address, timeout_seconds=SECONDS)
    web.statuses, web.retry_after = [503], "0"
    store.write_blob(ref(), opener())
    assert web.files[f"/cas/{ref().digest.hex}"] == DATA and len(web.log) == 2
    web.statuses = [503, 503]
    with pytest.raises(UnavailableError, match="PUT was answered with 503"):
        store.write_blob(ref(), opener())
    web.statuses = [403]
    with pytest.raises(UnavailableError, match="HEAD was answered with 403"):
        store.has_blob(ref())


def test_http_that_says_wait_long_is_not_waited_for(web: WebStore) -> None:
    web.statuses, web.retry_after = [429], "60"
    with pytest.raises(UnavailableError, match="429"):
        HttpStore(web.address, timeout_seconds=1).read_blob(ref())


def test_http_sends_its_token_and_names_what_was_refused(web: WebStore) -> None:
    web.token = "t0ken"
    HttpStore(web.address, timeout_seconds=SECONDS, token="t0ken").write(ROWS)
    assert len(web.files) == 2
    with pytest.raises(UnavailableError, match="TIFFIN_CACHE_TOKEN"):
        HttpStore(web.address, timeout_seconds=SECONDS).write(ROWS)


def test_http_reads_no_more_of_a_row_than_it_may_have(web: WebStore) -> None:
    name = next(iter(ROWS))
    web.files[f"/ac/{name}"] = bytes(2 * MAX_ROW_BYTES)
    assert len(HttpStore(web.address, timeout_seconds=SECONDS).read([name])[name]) == MAX_ROW_BYTES + 1


def test_http_that_nobody_serves_is_told_at_once() -> None:
    with pytest.raises(UnavailableError, match="the connection was refused"):
        HttpStore("http://127.0.0.1:1", timeout_seconds=SECONDS).known(list(ROWS))


@pytest.mark.parametrize("url", ["ftp://h/x", "http:///x", "nothing"])
def test_http_addresses_that_are_none(url: str) -> None:
    with pytest.raises(UsageError, match="is not an http address"):
        HttpStore(url, timeout_seconds=1)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://u:p@h:1/x?q=1", "http://h:1/x"),
        ("redis://:p@h", "redis://h"),
        ("unix:/path?x", "unix:/path"),
        ("user:pw@host", "host"),
    ],
)
def test_places_have_no_credentials(url: str, place: str) -> None:
    assert place_of(url) == place


# -- Redis
# -----------------------------------------------------------------------------------------------------------------


def test_redis_answers_a_question_in_one_round_trip(redis: FakeRedis) -> None:
    store = RedisStore(redis.url, timeout_seconds=SECONDS)
    store.write(ROWS)
    assert redis.log.count(b"SET") == 2
    assert dict(store.read([*ROWS, MISSING])) == ROWS and redis.log.count(b"GETRANGE") == 3


def test_redis_keeps_what_is_asked_for(redis: FakeRedis) -> None:
    store = RedisStore(redis.url, timeout_seconds=SECONDS, ttl_seconds=100)
    store.write(ROWS)
    store.write_blob(ref(), opener())
    first = dict(redis.until)
    assert store.known([*ROWS, MISSING]) == frozenset(ROWS) and store.has_blob(ref())
    assert len(first) == 3 and all(redis.until[key] > until for key, until in first.items())


def test_redis_takes_no_large_blob_unless_another_store_does(redis: FakeRedis) -> None:
    layers = MemoryStore()
    alone = RedisStore(redis.url, timeout_seconds=SECONDS, max_blob_bytes=10)
    assert not alone.write_blob(ref(), opener()) and alone.read_blob(ref()) is None and not alone.has_blob(ref())
    both = RedisStore(redis.url, timeout_seconds=SECONDS, max_blob_bytes=10, layers=layers)
    both.write_blob(ref(), opener())
    assert layers.blobs == {ref().digest: DATA} and not redis.values
    both.write({"0a" * 32: b'{"layer":{"size":11}}', "0b" * 32: b'{"layer":{"size":1}}'})
    assert list(layers.rows) == ["0a" * 32] and len(redis.values) == 2


@pytest.mark.parametrize(
    ("refuses", "says"),
    [
        ("OOM command not allowed", "it is full"),
        ("READONLY You can't write", r"the connection failed|refused the command"),
        ("ERR secret words", r"it refused the command \(ERR\)|refused"),
    ],
)
def test_what_redis_refuses_is_told_without_its_words(redis: FakeRedis, refuses: str, says: str) -> None:
    redis.refuses = refuses
    with pytest.raises(UnavailableError, match=says) as caught:
        RedisStore(redis.url, timeout_seconds=SECONDS).write(ROWS)
    assert "secret words" not in str(caught.value)


def test_redis_with_a_password_and_without_anybody(redis: FakeRedis) -> None:
    redis.password = "s3cret"
    with pytest.raises(UnavailableError, match="refused the credentials"):
        RedisStore(redis.url, timeout_seconds=SECONDS).read(list(ROWS))
    RedisStore(redis.url.replace("//", "//:s3cret@"), timeout_seconds=SECONDS).write(ROWS)
    with pytest.raises(UnavailableError, match="the connection failed"):
        RedisStore("redis://127.0.0.1:1/0", timeout_seconds=1).read(list(ROWS))


@pytest.mark.parametrize("url", ["http://h", "redis://h:x/0"])
def test_addresses_that_are_no_redis(url: str) -> None:
    with pytest.raises(UsageError, match="is not an address of Redis"):
        RedisStore(url, timeout_seconds=1).read(list(ROWS))


# -- S3
# --------------------------------------------------------------------------------------------------------------------


def test_s3_puts_everything_below_its_prefix(web: WebStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    store = s3(web)
    store.write(ROWS)
    store.write_blob(ref(), opener())
    assert all(path.startswith("/bucket/team/") for path in web.files) and len(web.files) == 3


@pytest.mark.thorough
def test_what_s3_refuses_is_told(web: WebStore) -> None:
    web.statuses = [403] * 9
    with pytest.raises(UnavailableError, match=r"it refused the request \(403\)"):
        s3(web).known([MISSING])
    with pytest.raises(UnavailableError, match="the connection failed"):
        s3(web, endpoint_url="http://127.0.0.1:1").has_blob(ref())
    with pytest.raises(UnavailableError, match="region or endpoint_url"):
        s3(web, endpoint_url="nothing").has_blob(ref())
