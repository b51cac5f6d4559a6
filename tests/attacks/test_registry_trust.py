"""Registries that want what is not theirs: credentials, addresses of this machine, content under a false digest."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.attacks.harness import error_of
from tests.conftest import Run
from tests.fakes.registry import PASSWORD, TOKEN, USER, Fake, fake_registry
from tests.support.servers import make_certificate
from tiffin.builder.errors import CorruptError, DigestError, ImageError, RegistryError, TiffinError, UnauthorizedError
from tiffin.builder.oci.config import ImageConfig
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor, Index, Manifest
from tiffin.builder.registry import guard, transport
from tiffin.builder.registry.auth.files import DockerConfig
from tiffin.builder.registry.client import RegistryClient
from tiffin.builder.registry.download import download
from tiffin.builder.registry.transport import RegistryOptions
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.trust import Trust

pytestmark = pytest.mark.network
DATA = b"layer" * 1000
ZEROS = f"sha256:{'0' * 64}"


def client(host: str, folder: Path, options: RegistryOptions | None = None) -> RegistryClient:
    """A client with credentials for `host`, and others for everybody else."""
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    config = DockerConfig.load({"DOCKER_CONFIG": str(folder)})
    return RegistryClient(host, config, options or RegistryOptions(tries=1))


def descriptor(data: bytes = DATA) -> Descriptor:
    return Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(data), size_bytes=len(data))


def got_credentials(stranger: Fake) -> list[str]:
    """What the stranger was given of what is ours."""
    basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    return [line for line in map(repr, stranger.log) if any(secret in line for secret in (PASSWORD, TOKEN, basic))]


def pull(registry: RegistryClient, wanted: Descriptor) -> bytes:
    with registry.get_blob("x", wanted) as stream:
        return b"".join(iter(lambda: stream.read(1 << 16), b""))


@pytest.mark.attack("T27")
@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize("way", ["redirect", "upload", "next", "foreign"])
def test_credentials_go_to_their_origin_alone(tmp_path: Path, auth: str, way: str) -> None:
    """CVE-2020-15157, CVE-2026-48978: a foreign address named by an answer gets none of our credentials."""
    with fake_registry() as stranger, fake_registry(auth=auth) as fake:
        stranger.put(DATA)
        registry = client(fake.host, tmp_path)
        url = f"http://{stranger.host}"
        if way == "redirect":
            fake.redirect_to = url
            assert pull(registry, descriptor()) == DATA
        elif way == "upload":
            fake.upload_at = url
            stranger.uploads["/upload/1"] = b""
            registry.push_blob("x", descriptor(b"other"), lambda: io.BytesIO(b"other"))
        elif way == "next":
            fake.tags, fake.link = ["a"], f"<{url}/v2/x/tags/list?n=2>; rel=next"
            with contextlib.suppress(RegistryError, ImageError):
                registry.tags("x")
        else:
            foreign = Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(DATA), size_bytes=len(DATA), urls=(url,))
            with pytest.raises(RegistryError, match="foreign"):
                pull(registry, foreign)
        assert way == "foreign" or (fake.log and stranger.log), "nobody was asked"
        assert not got_credentials(stranger), "a stranger got the registry's credentials"


@pytest.mark.attack("T27")
def test_other_port_and_name_are_other_origins(tmp_path: Path) -> None:
    """The same machine under another name or port is somebody else."""
    with fake_registry() as stranger, fake_registry(auth="basic") as fake:
        stranger.put(DATA)
        port = stranger.host.partition(":")[2]
        for host in (f"localhost:{port}", f"127.0.0.2:{port}", f"127.0.0.1:{port}"):
            fake.redirect_to = f"http://{host}"
            with contextlib.suppress(RegistryError):
                pull(client(fake.host, tmp_path), descriptor())
        fake.redirect_to = f"http://{USER}:{PASSWORD}@127.0.0.1:{port}"
        with contextlib.suppress(RegistryError):
            pull(client(fake.host, tmp_path), descriptor())
        headers = [authorization for _, _, authorization in stranger.log]
        assert TOKEN not in str(headers)
        assert [header for header in headers[:-1] if header] == [], "credentials went to another origin"


@pytest.mark.attack("T27")
def test_headers_of_add_go_to_their_host_alone(tmp_path: Path) -> None:
    with fake_registry() as stranger, fake_registry() as fake:
        stranger.put(DATA)
        fake.redirect_to = f"http://{stranger.host}"
        url = f"http://{fake.host}/v2/x/blobs/{Digest.of(DATA)}"
        sink = io.BytesIO()
        download(url, sink, headers={"Authorization": f"Bearer {TOKEN}"})
        assert sink.getvalue() == DATA and fake.seen("GET", "/blobs/") == [f"Bearer {TOKEN}"]
        assert not got_credentials(stranger), "a stranger got the credentials of a download"


@contextlib.contextmanager
def pretending(monkeypatch: pytest.MonkeyPatch, names: dict[str, str], *, public: frozenset[str]) -> Iterator[None]:
    """Names resolve to addresses of ours; the addresses in `public` pass for ones of the internet."""
    real = socket.getaddrinfo

    def resolve(host: str, *more: object, **options: object) -> object:
        return real(names.get(host, host), *more, **options)  # type: ignore[arg-type]

    private = guard.is_private_address
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolve)
        patch.setattr(guard, "is_private_address", lambda text: text not in public and private(text))
        yield


@contextlib.contextmanager
def registry_on(address: str, **switches: object) -> Iterator[Fake]:
    with fake_registry(address=address, **switches) as fake:
        yield fake


PUBLIC = "127.0.7.7"  # a loopback address that the tests declare to be public


@pytest.mark.attack("T28")
@pytest.mark.parametrize("target",
    ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.0.0.1", "192.168.1.1", "[::ffff:127.0.0.1]", "0.0.0.0",
        "inner.example"])  # fmt: skip
@pytest.mark.parametrize("way", ["redirect", "upload", "realm", "next"])
def test_public_registry_leads_to_no_private_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, way: str
) -> None:
    """SSRF by redirect, upload address, token realm: metadata services and neighbours stay out of reach."""
    names = {"registry.example": PUBLIC, "inner.example": "127.0.0.1"}
    with registry_on(PUBLIC) as fake, fake_registry() as neighbour:
        port = neighbour.host.partition(":")[2]
        host = f"registry.example:{fake.host.partition(':')[2]}"
        url = f"http://{target}:{port}"
        with pretending(monkeypatch, names, public=frozenset({PUBLIC})):
            registry = client(host, tmp_path, RegistryOptions(tries=1, insecure_registries=(host,)))
            with pytest.raises((RegistryError, UnauthorizedError), match="private address"):
                if way == "redirect":
                    fake.redirect_to = url
                    pull(registry, descriptor())
                elif way == "upload":
                    fake.upload_at = url
                    registry.push_blob("x", descriptor(), lambda: io.BytesIO(DATA))
                elif way == "realm":
                    fake.auth, fake.realm = "bearer", f"{url}/token"
                    registry.get_manifest("x", "y")
                else:
                    fake.tags, fake.link = ["a"], f"<{url}/v2/x/tags/list>; rel=next"
                    registry.tags("x")
        assert not neighbour.log, "a neighbour was asked on behalf of a public registry"


@pytest.mark.parametrize("named", ["registry.example", "inner.example", "*.example", "127.0.0.0/8", "other.example"])
def test_private_address_that_the_user_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    """The registry or the host it leads to: a registry whose blobs lie in the company's own store."""
    names = {"registry.example": PUBLIC, "inner.example": "127.0.0.1"}
    with registry_on(PUBLIC) as fake, fake_registry() as neighbour:
        neighbour.put(DATA)
        host = f"registry.example:{fake.host.partition(':')[2]}"
        fake.redirect_to = f"http://inner.example:{neighbour.host.partition(':')[2]}"
        with pretending(monkeypatch, names, public=frozenset({PUBLIC})):
            options = RegistryOptions(tries=1, insecure_registries=(host,), private_registries=(named,))
            registry = client(host, tmp_path, options)
            url = f"http://files.example:{fake.host.partition(':')[2]}/v2/x/blobs/{Digest.of(DATA)}"
            if named == "other.example":
                with pytest.raises(RegistryError, match="private address") as failed:
                    pull(registry, descriptor())
                assert "TIFFIN_PRIVATE_REGISTRIES" in failed.value.remedy and not neighbour.log
                return
            pull(registry, descriptor())
            assert neighbour.log
        if named == "inner.example":
            with pretending(monkeypatch, {**names, "files.example": PUBLIC}, public=frozenset({PUBLIC})):
                assert download(url, io.BytesIO(), private=(named,)).changed


@pytest.mark.attack("T28")
def test_name_that_resolves_otherwise_the_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: what was checked is not what is connected to."""
    with registry_on(PUBLIC) as fake, fake_registry() as neighbour:
        neighbour.put(DATA)
        port = neighbour.host.partition(":")[2]
        host = f"registry.example:{fake.host.partition(':')[2]}"
        fake.redirect_to = f"http://rebind.example:{port}"
        names = {"registry.example": PUBLIC, "rebind.example": "127.0.0.1"}
        with pretending(monkeypatch, names, public=frozenset({PUBLIC})):
            monkeypatch.setattr(transport, "is_private", lambda host: False)  # the first answer was another
            with pytest.raises(RegistryError, match=r"leads to the private address 127\.0\.0\.1"):
                pull(client(host, tmp_path, RegistryOptions(tries=1, insecure_registries=(host,))), descriptor())
        assert not neighbour.log


@pytest.mark.attack("T28")
def test_public_download_leads_to_no_private_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """ADD of a public URL must not fetch the metadata service of the machine that builds."""
    with registry_on(PUBLIC) as fake, fake_registry() as neighbour:
        neighbour.put(DATA)
        fake.redirect_to = f"http://{neighbour.host}"
        with pretending(monkeypatch, {"files.example": PUBLIC}, public=frozenset({PUBLIC})):
            url = f"http://files.example:{fake.host.partition(':')[2]}/v2/x/blobs/{Digest.of(DATA)}"
            with pytest.raises(RegistryError, match="private address"):
                download(url, io.BytesIO())
        assert not neighbour.log


@pytest.mark.attack("T28")
@pytest.mark.parametrize("way", ["redirect", "upload", "realm", "next"])
def test_https_is_never_left_for_http(tmp_path: Path, way: str) -> None:
    """CVE-2019-10214: a token service or an upload over plain http shows the credentials to everybody."""
    pair = make_certificate(tmp_path)
    with fake_registry() as stranger, fake_registry(certificate=pair) as fake:
        registry = client(fake.host, tmp_path, RegistryOptions(tries=1, trust=Trust({}, cert_file=str(pair[0]))))
        url = f"http://{stranger.host}"
        with pytest.raises(RegistryError, match=r"from https to http|over plain http"):
            if way == "redirect":
                fake.redirect_to = url
                pull(registry, descriptor())
            elif way == "upload":
                fake.upload_at = url
                registry.push_blob("x", descriptor(), lambda: io.BytesIO(DATA))
            elif way == "realm":
                fake.auth, fake.realm = "bearer", f"{url}/token"
                registry.get_manifest("x", "y")
            else:
                fake.tags, fake.link = ["a"], f"<{url}/v2/x/tags/list>; rel=next"
                registry.tags("x")
        assert fake.log and not stranger.log, "https was left for http"


@pytest.mark.attack("T28")
def test_download_over_https_never_continues_over_http(tmp_path: Path) -> None:
    """ADD of an https URL: what comes over plain http may be anybody's."""
    pair = make_certificate(tmp_path)
    with fake_registry() as stranger, fake_registry(certificate=pair) as fake:
        stranger.put(DATA)
        fake.redirect_to = f"http://{stranger.host}"
        with pytest.raises(RegistryError, match="leads away from https"):
            download(
                f"https://{fake.host}/v2/x/blobs/{Digest.of(DATA)}",
                io.BytesIO(),
                trust=Trust({}, cert_file=str(pair[0])),
            )
        assert fake.log and not stranger.log, "https was left for http"


@pytest.mark.attack("T28")
def test_certificates_are_verified(tmp_path: Path) -> None:
    pair = make_certificate(tmp_path)
    with fake_registry(certificate=pair) as fake:
        fake.put(DATA)
        host = fake.host
        assert (
            pull(
                client(host, tmp_path, RegistryOptions(tries=1, trust=Trust({}, cert_file=str(pair[0])))), descriptor()
            )
            == DATA
        )
        fake.log.clear()
        for options in (RegistryOptions(tries=1), RegistryOptions(tries=1, insecure_registries=("elsewhere",))):
            with pytest.raises(RegistryError, match="is not trusted"):
                pull(client(host, tmp_path, options), descriptor())
        assert not fake.log, "a request went to a server nobody vouches for"
        assert pull(client(host, tmp_path, RegistryOptions(tries=1, insecure_registries=(host,))), descriptor()) == DATA


@pytest.mark.attack("T28")
def test_only_named_registries_speak_plain_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with registry_on(PUBLIC) as fake:
        host = f"registry.example:{fake.host.partition(':')[2]}"
        names = {"registry.example": PUBLIC}
        with (
            pretending(monkeypatch, names, public=frozenset({PUBLIC})),
            pytest.raises(RegistryError, match="plain http"),
        ):
            client(host, tmp_path).get_manifest("x", "y")
        assert not fake.log, "plain http was spoken to a registry nobody named insecure"


ADDRESSES = ["http://h:99999/", "http://[::1", "http://", "https:///path", "http://h:0/", "ftp://h/x", "file:///etc/passwd",
             "//h:99999/x", "http://h:-1/", "javascript:x", "http://\x00/", "gopher://h"]  # fmt: skip


@pytest.mark.attack("T11", "T27")
@pytest.mark.parametrize("url", ADDRESSES)
def test_addresses_that_are_none_are_told(tmp_path: Path, url: str) -> None:
    if "\x00" not in url:
        with fake_registry(redirect_to=url) as fake, pytest.raises(TiffinError):
            pull(client(fake.host, tmp_path), descriptor())
    with fake_registry(auth="bearer", realm=url) as fake, pytest.raises(TiffinError):
        client(fake.host, tmp_path).get_manifest("x", "y")


@pytest.mark.attack("T11")
@pytest.mark.parametrize(
    "answer", [b"", b"[" * 100_000, b"{}", b"[]", b'{"token": null}', b'{"token": "a\\nb"}', b'{"token":"\\ud800"}',
        b'{"token":"x","expires_in":"never"}', b"\xff\xfe"]
)  # fmt: skip
def test_token_services_that_talk_nonsense(tmp_path: Path, answer: bytes) -> None:
    with fake_registry(auth="bearer", token_answer=answer) as fake, pytest.raises(RegistryError):
        client(fake.host, tmp_path).get_manifest("x", "y")


# -- digests and documents -------------------------------------------------------------------------------------------

DIGESTS = ["", "sha256", "sha256:", "sha256:abc", f"sha256:{'0' * 63}", f"sha256:{'0' * 65}", f"sha256:{'A' * 64}",
           f"sha256:../{'0' * 61}", f"md5:{'0' * 32}", f"sha256:{'0' * 63}\n", f"../../etc/passwd:{'0' * 64}",
           f"sha512:{'0' * 64}", f"sha256:{'0' * 32}/../{'0' * 28}", f"SHA256:{'0' * 64}",
           f"sha256+b64:{'0' * 64}"]  # fmt: skip


@pytest.mark.attack("T20")
@pytest.mark.parametrize("text", DIGESTS)
def test_digests_that_are_none(text: str) -> None:
    """CVE-2024-3727: a digest that was not checked became part of a path."""
    with pytest.raises(DigestError):
        Digest.parse(text)
    with pytest.raises(TiffinError):
        Reference.parse(f"host.example/x@{text}")
    layer = {"mediaType": OCI_LAYER_GZIP, "digest": text, "size": 1}
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": ZEROS, "size": 1}
    for one, two in (([layer], config), ([], layer)):
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": two, "layers": one}
        with pytest.raises(TiffinError):
            Manifest.decode(json.dumps(document).encode())
    with pytest.raises(TiffinError):
        Index.decode(json.dumps({"schemaVersion": 2, "manifests": [{**layer, "mediaType": OCI_MANIFEST}]}).encode())
    with pytest.raises(TiffinError):
        ImageConfig.decode(
            json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [text]}}).encode()
        )


@pytest.mark.attack("T20")
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_manifest_by_digest_is_that_manifest(tmp_path: Path, algorithm: str) -> None:
    right = Digest.of(b"{}", algorithm)
    wrong = Digest.of(b"[]", algorithm)
    with fake_registry() as fake:
        fake.manifests[str(right)] = fake.manifests[str(wrong)] = (b"{}", OCI_MANIFEST)
        assert client(fake.host, tmp_path).get_manifest("x", str(right)).digest == right
        with pytest.raises(CorruptError, match="wrong digest"):
            client(fake.host, tmp_path).get_manifest("x", str(wrong))


def image_of(fake: Fake, **changes: object) -> dict[str, object]:
    """A whole image in a fake registry; `changes` replace members of its manifest or, with a dot, of what is below."""
    import gzip
    import hashlib
    import tarfile

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("file"))
    blob = gzip.compress(stream.getvalue(), mtime=0)
    diff_id = "sha256:" + hashlib.sha256(stream.getvalue()).hexdigest()
    config = json.dumps(
        {
            "os": "linux",
            "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": [changes.pop("diff_id", diff_id)]},
        }
    ).encode()
    manifest: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": fake.put(config),
            "size": len(config),
        },
        "layers": [{"mediaType": OCI_LAYER_GZIP, "digest": fake.put(blob), "size": len(blob)}],
        **changes,
    }
    fake.manifests["latest"] = (json.dumps(manifest).encode(), OCI_MANIFEST)
    return manifest


@pytest.mark.attack("T20")
@pytest.mark.parametrize("what", ["layer content", "layer size", "config content", "config size", "diff_id"])
def test_wrong_content_leaves_nothing(tiffin: Run, root: Path, context: Callable[..., Path], what: str) -> None:
    """CVE-2014-8179, CVE-2019-11250: every byte is compared with its digest and size before it gets a name."""
    with fake_registry() as fake:
        manifest = image_of(fake, **({"diff_id": ZEROS} if what == "diff_id" else {}))
        kind, _, fault = what.partition(" ")
        target = manifest["layers"][0] if kind == "layer" else manifest["config"]  # type: ignore[index]
        if fault == "content":
            fake.blobs[target["digest"]] = bytes(target["size"])  # type: ignore[index]
        elif fault == "size":
            target["size"] += 1  # type: ignore[index]
            fake.manifests["latest"] = (json.dumps(manifest).encode(), OCI_MANIFEST)
        words = (
            ("build", context(f"FROM {fake.host}/x\nCOPY --from={fake.host}/x /file /f\n"))
            if what == "diff_id"
            else ("pull", f"{fake.host}/x")
        )
        line = error_of(tiffin(*words, check=False))
        assert any(word in line for word in ("wrong content", "bytes", "came as")), line
        for path in (root / "images/blobs/sha256").iterdir():
            assert Digest.of(path.read_bytes()).hex == path.name, "a blob is not what its name says"
        if what == "diff_id":
            assert not (root / "layers" / ZEROS.replace(":", "-") / "index").exists(), (
                "a layer is kept under a false DiffID"
            )


CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": ZEROS, "size": 2}
AMBIGUOUS = {
    "both": ({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG, "layers": [], "manifests": []},
        OCI_MANIFEST),
    "both as index": ({"schemaVersion": 2, "mediaType": OCI_INDEX, "config": CONFIG, "layers": [], "manifests": []},
        OCI_INDEX),
    "other type": ({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}, OCI_MANIFEST),
    "manifest as index": ({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG, "layers": []}, OCI_INDEX),
    "neither": ({"schemaVersion": 2}, ""),
    "schema 1": ({"schemaVersion": 1, "mediaType": OCI_MANIFEST, "config": CONFIG, "layers": []}, OCI_MANIFEST),
    "artifact": ({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "text/x",
        "config": {**CONFIG, "mediaType": "application/vnd.oci.empty.v1+json"},
        "layers": [{"mediaType": "text/x", "digest": ZEROS, "size": 1}]}, OCI_MANIFEST),
    "unknown type": ({"schemaVersion": 2, "mediaType": "text/html", "config": CONFIG, "layers": []}, "text/html"),
    "list": ([], OCI_MANIFEST),
    "text": ("manifest", OCI_MANIFEST),
    "negative size": ({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {**CONFIG, "size": -1}, "layers": []},
        OCI_MANIFEST),
    "huge size": ({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {**CONFIG, "size": 1 << 70}, "layers": []},
        OCI_MANIFEST),
    "float size": ({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {**CONFIG, "size": 1.5}, "layers": []},
        OCI_MANIFEST),
    "index of itself": ({"schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [{"mediaType": OCI_INDEX, "digest": ZEROS, "size": 1}]}, OCI_INDEX),
}  # fmt: skip


@pytest.mark.attack("T29", "T11")
@pytest.mark.parametrize("name", AMBIGUOUS)
def test_documents_that_are_two_things_or_none(tiffin: Run, root: Path, name: str) -> None:
    """CVE-2021-41190: what one tool takes for a manifest and another for an index is refused."""
    document, media_type = AMBIGUOUS[name]
    with fake_registry() as fake:
        fake.manifests["latest"] = (json.dumps(document).encode(), media_type)
        done = tiffin("pull", f"{fake.host}/x", check=False)
        assert error_of(done) and done.returncode == 1, done.stderr
        if name.startswith("both"):
            assert "both" in done.stderr or "manifests" in done.stderr, done.stderr
        assert not fake.seen("GET", "/blobs/") or name in ("artifact", "huge size"), "an ambiguous document is followed"
