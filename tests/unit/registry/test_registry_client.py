"""The registry client against a registry that misbehaves on purpose."""

from __future__ import annotations

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fakes.registry import PASSWORD, TOKEN, USER, Fake, fake_registry
from tiffin.builder.errors import CorruptError, NotInRegistryError, RegistryError, UnauthorizedError
from tiffin.builder.image.cache_image import RegistryStore
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor, Manifest
from tiffin.builder.registry.auth.credentials import RegistryCredentials
from tiffin.builder.registry.auth.files import DockerConfig
from tiffin.builder.registry.client import RegistryClient
from tiffin.builder.registry.transport import RegistryOptions
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.shared.bundle import Bundle

QUICK = 0.001  # seconds to wait before another try
DATA = bytes(range(256)) * 4096


def config(tmp_path: Path, document: dict[str, object] | None = None, path: str = "") -> DockerConfig:
    (tmp_path / "config.json").write_text(json.dumps(document or {}))
    return DockerConfig.load({"DOCKER_CONFIG": str(tmp_path), "PATH": path})


def client(fake: Fake, tmp_path: Path) -> RegistryClient:
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    return RegistryClient(
        fake.host, config(tmp_path, {"auths": {fake.host: {"auth": auth}}}), RegistryOptions(back_off_seconds=QUICK)
    )


def descriptor(data: bytes = DATA) -> Descriptor:
    return Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(data), size_bytes=len(data))


def read(client: RegistryClient, wanted: Descriptor) -> bytes:
    with client.get_blob("x", wanted) as stream:
        return b"".join(iter(lambda: stream.read(70_000), b""))


@pytest.mark.parametrize("auth", ["", "basic", "bearer"])
def test_push_and_pull_with_every_kind_of_auth(tmp_path: Path, auth: str) -> None:
    with fake_registry(auth=auth) as fake:
        registry = client(fake, tmp_path)
        totals: list[int] = []
        outcome = registry.push_blob("x", descriptor(), lambda: io.BytesIO(DATA), progress=totals.append)
        assert outcome == "uploaded" and totals[-1] == len(DATA)
        assert registry.push_blob("x", descriptor(), lambda: io.BytesIO(DATA)) == "exists"
        assert read(registry, descriptor()) == DATA
        registry.put_manifest("x", "tag", b"{}", OCI_MANIFEST)
        assert registry.get_manifest("x", "tag").data == b"{}"


@pytest.mark.attack("T27")
def test_credentials_never_follow_a_redirect(tmp_path: Path) -> None:
    with fake_registry() as store, fake_registry(auth="basic", redirect_to=f"http://{store.host}") as fake:
        store.put(DATA)
        assert read(client(fake, tmp_path), descriptor()) == DATA
        assert any(fake.seen("GET", "/blobs/")) and set(store.seen("GET", "/blobs/")) == {""}


@pytest.mark.attack("T27")
def test_token_goes_to_the_registry_alone(tmp_path: Path) -> None:
    with fake_registry() as store, fake_registry(auth="bearer", redirect_to=f"http://{store.host}") as fake:
        store.put(DATA)
        read(client(fake, tmp_path), descriptor())
        assert f"Bearer {TOKEN}" in fake.seen("GET", "/blobs/")
        assert not any(TOKEN in authorization for _, _, authorization in store.log)
        assert fake.seen("GET", "/token")[0].startswith("Basic ")
        fake.log.clear()
        read_again = client(fake, tmp_path)
        read(read_again, descriptor())
        read(read_again, descriptor())
        assert len(fake.seen("GET", "/token")) == 1, "a token is asked for once"


@pytest.mark.attack("T27")
@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize("verb", ["GET", "HEAD", "PUT"])
def test_who_a_registry_leads_to_gets_no_credentials_by_asking(tmp_path: Path, auth: str, verb: str) -> None:
    """What containerd had as CVE-2020-15157: the other side's challenge names a token service of its own."""
    with fake_registry(auth=auth, password="other", token="other") as store, fake_registry() as fake:
        fake.redirect_to, fake.upload_at = f"http://{store.host}", f"http://{store.host}"
        fake.put(DATA)
        registry = client(fake, tmp_path)
        if verb == "HEAD":
            assert not registry.has_blob("x", Digest.of(DATA))
        else:
            with pytest.raises(RegistryError, match=f"{store.host}, to where {fake.host} leads, denied access .401"):
                read(registry, descriptor()) if verb == "GET" else registry.push_blob(
                    "x", descriptor(b"new"), lambda: io.BytesIO(b"new")
                )
        assert store.log and not store.seen("GET", "/token")
        assert {authorization for _, _, authorization in store.log} == {""}


@pytest.mark.parametrize("way", ["blob", "upload"])
def test_who_did_not_answer_is_named(tmp_path: Path, way: str) -> None:
    """Not the registry, which did: where it leads, as one that nobody told of its own port."""
    away = "http://127.0.0.1:1"
    with fake_registry(redirect_to=away, upload_at=away) as fake:
        fake.put(DATA)
        registry = client(fake, tmp_path)
        with pytest.raises(RegistryError, match=f"^127.0.0.1:1, to where {fake.host} leads, refused the connection"):
            if way == "blob":
                registry.open_blob("x", descriptor(), 0)
            else:
                registry.push_blob("x", descriptor(b"new"), lambda: io.BytesIO(b"new"))


@pytest.mark.attack("T24")
def test_wrong_credentials_name_the_remedy_and_not_themselves(tmp_path: Path) -> None:
    with fake_registry(auth="basic") as fake:
        registry = RegistryClient(fake.host, config(tmp_path), RegistryOptions(back_off_seconds=QUICK))
        with pytest.raises(UnauthorizedError, match=r"access denied .401.*tiffin login") as caught:
            registry.check_credentials(RegistryCredentials(username="x", password="very-secret"))
        assert "very-secret" not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize("statuses", [[500], [503, 502], [429, 429, 429]])
def test_passing_failures_are_tried_again(tmp_path: Path, statuses: list[int]) -> None:
    with fake_registry(fail=statuses) as fake:
        fake.put(DATA)
        assert read(client(fake, tmp_path), descriptor()) == DATA


def test_lasting_failures_are_told(tmp_path: Path) -> None:
    with fake_registry(fail=[503] * 9) as fake, pytest.raises(RegistryError, match="answered 503"):
        read(client(fake, tmp_path), descriptor())
    with fake_registry() as fake, pytest.raises(NotInRegistryError, match="not found"):
        client(fake, tmp_path).get_manifest("x", "nothing")


@pytest.mark.parametrize("ranges", [True, False])
def test_cut_blob_is_resumed(tmp_path: Path, ranges: bool) -> None:
    with fake_registry(cut_after=[300_000, 200_000], ranges=ranges) as fake:
        fake.put(DATA)
        assert read(client(fake, tmp_path), descriptor()) == DATA


@pytest.mark.attack("T20")
def test_blob_that_is_not_what_was_promised(tmp_path: Path) -> None:
    with fake_registry() as fake:
        wanted = descriptor()
        fake.blobs[str(wanted.digest)] = DATA[:-1] + b"x"
        with pytest.raises(CorruptError, match="wrong content"):
            read(client(fake, tmp_path), wanted)
        fake.blobs[str(wanted.digest)] = DATA + DATA
        with pytest.raises(CorruptError, match="longer than"):
            read(client(fake, tmp_path), wanted)


@pytest.mark.attack("T27")
def test_foreign_layer_is_not_fetched(tmp_path: Path) -> None:
    foreign = Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(b""), size_bytes=1, urls=("http://192.0.2.1/",))
    with fake_registry() as fake, pytest.raises(RegistryError, match="foreign"):
        read(client(fake, tmp_path), foreign)


@pytest.mark.thorough
@pytest.mark.parametrize("status", [202, 400, 401, 403, 404, 405, 500, 503])
@pytest.mark.parametrize("auth", ["", "bearer"])
def test_mount_that_is_refused_is_an_upload(tmp_path: Path, status: int, auth: str) -> None:
    """A mount saves work: whatever it is answered, and whatever the token service says to it, the blob goes up."""
    with fake_registry(auth=auth, mounts=False, mount_status=0 if status == 202 else status) as fake:
        registry = client(fake, tmp_path)
        assert registry.push_blob("y", descriptor(), lambda: io.BytesIO(DATA), mount_from=["x", "z"]) == "uploaded"
        assert fake.blobs[str(Digest.of(DATA))] == DATA
        assert fake.seen("POST", "from=x") and fake.seen("POST", "from=z")
        if status in (400, 401, 403, 405):
            fake.log.clear()
            registry.push_blob("y", descriptor(b"more"), lambda: io.BytesIO(b"more"), mount_from=["x"])
            assert not fake.seen("POST", "from=x"), "asked again where nothing may be mounted from"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
def test_token_service_that_refuses_the_source_of_a_mount(tmp_path: Path, status: int) -> None:
    with fake_registry(auth="bearer", scope_status=status) as fake:
        registry = client(fake, tmp_path)
        assert registry.push_blob("y", descriptor(), lambda: io.BytesIO(DATA), mount_from=["x"]) == "uploaded"
        assert ["repository:y:pull,push", "repository:x:pull"] in fake.scopes
        assert fake.blobs[str(Digest.of(DATA))] == DATA


def test_mount_where_it_may(tmp_path: Path) -> None:
    with fake_registry(auth="bearer") as fake:
        digest = fake.put(DATA)
        registry = client(fake, tmp_path)
        assert registry.push_blob("y", descriptor(), lambda: io.BytesIO(DATA), mount_from=["x"]) == "mounted"
        assert f"mounted:{digest}" in fake.blobs and not fake.begun


@pytest.mark.parametrize("status", [400, 401, 403, 405, 500, 501, 503])
def test_who_may_only_push_does(tmp_path: Path, status: int) -> None:
    """A role that may not read is refused the question whether a manifest or a blob is there; the answer is not
    needed.
    """
    with fake_registry(head_status=status) as fake:
        registry = client(fake, tmp_path)
        assert not registry.has_manifest("x", Digest.of(b"{}")) and not registry.has_blob("x", Digest.of(DATA))
        assert registry.push_blob("x", descriptor(), lambda: io.BytesIO(DATA)) == "uploaded"
        registry.put_manifest("x", "tag", b"{}", OCI_MANIFEST)
        assert registry.head_manifest("x", "tag") == Digest.of(b"{}")
        assert fake.blobs[str(Digest.of(DATA))] == DATA


def test_question_that_leads_to_nobody_is_no_obstacle(tmp_path: Path) -> None:
    """Storage that blobs are read from, and that this machine cannot reach, or that takes no HEAD."""
    with fake_registry(redirect_to="http://127.0.0.1:1") as fake:
        fake.put(DATA)
        registry = client(fake, tmp_path)
        assert registry.push_blob("x", descriptor(), lambda: io.BytesIO(DATA)) == "uploaded"


def test_credentials_that_may_not_push_are_told(tmp_path: Path) -> None:
    with fake_registry(auth="basic", password="another") as fake, pytest.raises(UnauthorizedError, match="401"):
        client(fake, tmp_path).push_blob("y", descriptor(), lambda: io.BytesIO(DATA), mount_from=["x"])


def test_large_request_refused_is_sent_in_chunks(tmp_path: Path) -> None:
    with fake_registry(refuse_large=True) as fake:
        assert client(fake, tmp_path).push_blob("x", descriptor(), lambda: io.BytesIO(DATA)) == "uploaded"
        assert fake.blobs[str(Digest.of(DATA))] == DATA and fake.seen("PATCH", "/upload/")


@pytest.mark.thorough
@pytest.mark.parametrize("reads", [True, False], ids=["answers late", "answers at once"])
@pytest.mark.parametrize("limit", [200_000, 512 << 10, len(DATA) - 1, len(DATA)])
def test_body_limit_of_a_proxy_halves_the_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, reads: bool
) -> None:
    monkeypatch.setattr("tiffin.builder.registry.upload.UPLOAD_CHUNK_BYTES", 2 << 20)
    with fake_registry(max_body=limit, reads_refused=reads) as fake:
        pushing, other = client(fake, tmp_path), DATA[::-1]
        pushing.push_blob("x", descriptor(), lambda: io.BytesIO(DATA))
        assert fake.blobs[str(Digest.of(DATA))] == DATA
        assert sum(fake.sent) == len(DATA) and max(fake.sent) <= limit
        before = len(fake.log)
        pushing.push_blob("x", descriptor(other), lambda: io.BytesIO(other))
        assert fake.blobs[str(Digest.of(other))] == other
        sends = [path for verb, path, _ in fake.log[before:] if verb in ("PUT", "PATCH")]
        assert len(sends) == (1 if limit >= len(DATA) else 1 + -(-len(DATA) // pushing._transport.chunk_bytes)), (
            "the limit is known by now"
        )


def test_limit_that_nothing_passes_is_named(tmp_path: Path) -> None:
    with fake_registry(max_body=1000) as fake, pytest.raises(RegistryError, match="too large") as failed:
        client(fake, tmp_path).push_blob("x", descriptor(), lambda: io.BytesIO(DATA))
    assert "client_max_body_size" in failed.value.remedy


@pytest.mark.parametrize("status", [0, 504], ids=["no answer", "a proxy gives up"])
@pytest.mark.parametrize("chunked", [False, True])
def test_slow_upload_is_not_sent_twice(tmp_path: Path, status: int, chunked: bool) -> None:
    with fake_registry(slow_puts=[0.2], hides_slow=status) as fake:
        options = RegistryOptions(timeout_seconds=0.2, slow_seconds=0.1, back_off_seconds=0.02)
        pushing = RegistryClient(fake.host, config(tmp_path), options)
        pushing._transport.chunk_bytes = 300_000 if chunked else 0
        pushing.push_blob("x", descriptor(), lambda: io.BytesIO(DATA))
        assert fake.blobs[str(Digest.of(DATA))] == DATA
        assert fake.begun == 1 and sum(fake.sent) == len(DATA)


def test_upload_that_never_came_is_sent_again(tmp_path: Path) -> None:
    with fake_registry(slow_puts=[None], hides_slow=504) as fake:
        options = RegistryOptions(timeout_seconds=0.2, back_off_seconds=0.05)
        RegistryClient(fake.host, config(tmp_path), options).push_blob("x", descriptor(), lambda: io.BytesIO(DATA))
        assert fake.blobs[str(Digest.of(DATA))] == DATA and fake.begun == 2


@pytest.mark.parametrize("kept", [0, 300_000, len(DATA)])
def test_upload_that_breaks_is_not_gone_on_with_blindly(tmp_path: Path, kept: int) -> None:
    with fake_registry(keep=[kept]) as fake:
        client(fake, tmp_path).push_blob("x", descriptor(), lambda: io.BytesIO(DATA))
        assert fake.blobs[str(Digest.of(DATA))] == DATA
        assert fake.begun == (1 if kept == len(DATA) else 2), "what arrived is not sent again"


@pytest.mark.parametrize("kept", [0, 70_000, 100_000])
def test_chunk_that_breaks_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    monkeypatch.setattr("tiffin.builder.registry.upload.UPLOAD_CHUNK_BYTES", 100_000)
    with fake_registry(refuse_large=True, keep=[100_000, 100_000, kept]) as fake:
        client(fake, tmp_path).push_blob("x", descriptor(), lambda: io.BytesIO(DATA))
        assert fake.blobs[str(Digest.of(DATA))] == DATA


@pytest.mark.attack("T10", "T29")
def test_schema_1_and_large_manifests_are_refused(tmp_path: Path) -> None:
    with fake_registry() as fake:
        fake.manifests["old"] = (b"{}", "application/vnd.docker.distribution.manifest.v1+prettyjws")
        fake.manifests["big"] = (b" " * (5 << 20), OCI_MANIFEST)
        registry = client(fake, tmp_path)
        with pytest.raises(RegistryError, match="schema 1"):
            registry.get_manifest("x", "old")
        with pytest.raises(CorruptError, match="larger than"):
            registry.get_manifest("x", "big")
        with pytest.raises(CorruptError, match="wrong digest"):
            fake.manifests[f"sha256:{'0' * 64}"] = (b"{}", OCI_MANIFEST)
            registry.get_manifest("x", f"sha256:{'0' * 64}")


BEARER, BASIC = 'Bearer realm=R,service="fake"', 'Basic realm="fake"'
SEVERAL = {
    "basic then bearer": (BASIC, BEARER),
    "bearer then basic": (BEARER, BASIC),
    "in one header": (f"{BEARER}, {BASIC}",),
    "in one header, basic first": (f"{BASIC}, {BEARER}",),
    "negotiate first": ("Negotiate", "NTLM", BASIC, BEARER),
    "a token service that is none": ('Bearer realm="ftp://x/y"', 'Bearer service="z"', f"Negotiate, {BASIC}"),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_best_of_several_challenges_is_taken(tmp_path: Path, name: str) -> None:
    with fake_registry(auth="basic" if "none" in name else "bearer", challenges=SEVERAL[name]) as fake:
        fake.put(DATA)
        assert read(client(fake, tmp_path), descriptor()) == DATA
        assert len(fake.seen("GET", "/blobs/")) == 2, "one question, one answer"


def test_challenges_that_tiffin_cannot_answer_are_named(tmp_path: Path) -> None:
    with (
        fake_registry(auth="basic", challenges=("Negotiate", "NTLM")) as fake,
        pytest.raises(UnauthorizedError, match="wants negotiate, ntlm"),
    ):
        read(client(fake, tmp_path), descriptor())


@pytest.mark.parametrize("statuses", [[429], [500, 503], [502, 504, 429]])
def test_token_service_that_is_busy_is_asked_again(tmp_path: Path, statuses: list[int]) -> None:
    with fake_registry(auth="bearer", token_fail=list(statuses)) as fake:
        fake.put(DATA)
        assert read(client(fake, tmp_path), descriptor()) == DATA
        assert len(fake.seen("GET", "/token")) == len(statuses) + 1


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_token_service_that_refuses_is_not_asked_again(tmp_path: Path, status: int) -> None:
    with fake_registry(auth="bearer", token_fail=[status] * 9) as fake, pytest.raises(RegistryError):
        read(client(fake, tmp_path), descriptor())
    assert len(fake.seen("GET", "/token")) == 1


def test_token_service_that_stays_busy_is_named(tmp_path: Path) -> None:
    with fake_registry(auth="bearer", token_fail=[503] * 9) as fake:
        registry = RegistryClient(fake.host, config(tmp_path), RegistryOptions(tries=2, back_off_seconds=QUICK))
        with pytest.raises(RegistryError, match=r"token service of 127.* answered 503; try again later"):
            read(registry, descriptor())


def test_many_threads_ask_for_one_token(tmp_path: Path) -> None:
    with fake_registry(auth="bearer") as fake, ThreadPoolExecutor(8) as pool:
        fake.put(DATA)
        registry = client(fake, tmp_path)
        assert registry.has_blob("x", Digest.of(DATA))
        fake.log.clear()
        assert all(pool.map(lambda _: registry.has_blob("y", Digest.of(DATA)), range(8)))
        assert len(fake.seen("GET", "/token")) == 1


def test_token_that_is_not_taken_any_more(tmp_path: Path) -> None:
    """It ends before its time, while many requests are under way: one asks for another, and bodies are sent again."""
    with fake_registry(auth="bearer") as fake, ThreadPoolExecutor(8) as pool:
        registry = client(fake, tmp_path)
        registry.push_blob("x", descriptor(), lambda: io.BytesIO(DATA))
        fake.token, fake.log = "another", []
        blobs = [bytes([number]) * 50_000 for number in range(8)]
        done = pool.map(lambda data: registry.push_blob("x", descriptor(data), lambda: io.BytesIO(data)), blobs)
        assert list(done) == ["uploaded"] * 8 and len(fake.seen("GET", "/token")) == 1
        fake.token = "a third"
        registry.put_manifest("x", "tag", b"{}", OCI_MANIFEST)
        assert fake.manifests["tag"][0] == b"{}"


def test_addresses_nobody_can_speak_to_are_not_asked_again(tmp_path: Path) -> None:
    """What cannot pass is told at once."""
    with fake_registry(redirect_to="gopher://x") as fake, pytest.raises(RegistryError, match="gopher"):
        read(client(fake, tmp_path), descriptor())
    assert len(fake.log) == 1


@pytest.mark.parametrize("statuses", [[500] * 4, [404, 400], [404, 404, 202, 400]])
def test_rows_are_added_to_a_tag_that_others_write(tmp_path: Path, statuses: list[int]) -> None:
    """docker-registry answers 400 and 500 to who reads a link while another writes it."""
    with fake_registry(fail=statuses) as fake:
        registry = RegistryClient(fake.host, config(tmp_path), RegistryOptions(tries=2, back_off_seconds=QUICK))
        store = RegistryStore(registry, Reference.parse(f"{fake.host}/x:cache"), timeout_seconds=5)
        store.write({"a": b"1"})
        manifest = Manifest.decode(*fake.manifests["cache"])
        assert Bundle.decode(fake.blobs[str(manifest.config.digest)]).rows == {"a": b"1"}
