"""Where a registry may lead: never from the internet to this machine or its neighbours, never from https to http."""

from __future__ import annotations

import gc
import io
import socket

import pytest

from tests.fakes.registry import Fake, fake_registry
from tiffin.builder.errors import RegistryError
from tiffin.builder.oci.spec import OCI_LAYER_GZIP, Descriptor
from tiffin.builder.registry import guard
from tiffin.builder.registry.auth.files import DockerConfig
from tiffin.builder.registry.client import RegistryClient
from tiffin.builder.registry.download import download
from tiffin.builder.registry.failures import tls_error, wants_certificate
from tiffin.builder.registry.guard import is_private, is_private_address
from tiffin.builder.registry.http_response import detail, joined, origin, split
from tiffin.builder.registry.transport import RegistryOptions
from tiffin.cache.foundation.digest import Digest

PUBLIC = "127.0.7.8"  # a loopback address that passes for one of the internet
NAMES = {"public.example": PUBLIC, "inner.example": "127.0.0.1"}
DATA = b"layer" * 100
DEEP = 10_000  # brackets in each other that no parser follows


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("127.0.0.1", True), ("10.1.2.3", True), ("192.168.0.1", True), ("169.254.169.254", True), ("0.0.0.0", True),
        ("::1", True), ("fe80::1%eth0", True), ("fd00::1", True), ("::ffff:10.0.0.1", True), ("100.64.0.1", True),
        ("8.8.8.8", False), ("2606:4700::1111", False), ("::ffff:8.8.8.8", False),
    ],
)  # fmt: skip
def test_which_addresses_are_private(address: str, private: bool) -> None:
    assert is_private_address(address) == private


def test_names_count_by_what_they_resolve_to_and_unknown_ones_do_not() -> None:
    assert is_private("localhost") and not is_private("no.such.name.invalid") and not is_private("a" * 300)


@pytest.fixture
def resolved_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of the test, and an address that is not private."""
    real, private = socket.getaddrinfo, guard.is_private_address

    def resolve(host: str, *more: object, **options: object) -> object:
        return real(NAMES.get(host, host), *more, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(guard, "is_private_address", lambda text: text != PUBLIC and private(text))


def public_client(fake: Fake, *private: str) -> RegistryClient:
    host = f"public.example:{fake.host.partition(':')[2]}"
    options = RegistryOptions(tries=1, insecure_registries=(host,), private_registries=private)
    return RegistryClient(host, DockerConfig.load({}), options)


def pull(client: RegistryClient) -> bytes:
    wanted = Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(DATA), size_bytes=len(DATA))
    with client.get_blob("x", wanted) as stream:
        return b"".join(iter(lambda: stream.read(1 << 16), b""))


@pytest.mark.usefixtures("resolved_hosts")
@pytest.mark.parametrize("target", ["127.0.0.1", "inner.example", "localhost"])
def test_a_public_registry_leads_to_no_private_address(target: str) -> None:
    with fake_registry(address=PUBLIC) as fake, fake_registry() as neighbour:
        fake.redirect_to = f"http://{target}:{neighbour.host.partition(':')[2]}"
        with pytest.raises(RegistryError, match="leads to the private address"):
            pull(public_client(fake))
        assert not neighbour.log


@pytest.mark.usefixtures("resolved_hosts")
def test_what_the_user_names_may_lead_home() -> None:
    with fake_registry(address=PUBLIC) as fake, fake_registry() as neighbour:
        neighbour.put(DATA)
        fake.redirect_to = f"http://inner.example:{neighbour.host.partition(':')[2]}"
        assert pull(public_client(fake, "inner.example")) == DATA
        assert pull(public_client(fake, "public.example")) == DATA


@pytest.mark.usefixtures("resolved_hosts")
def test_a_connection_that_ends_at_a_private_address_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name resolved otherwise when it was looked at."""
    with fake_registry(address=PUBLIC) as fake, fake_registry() as neighbour:
        client = public_client(fake)
        fake.put(DATA)
        assert pull(client) == DATA
        fake.redirect_to = f"http://rebind.example:{neighbour.host.partition(':')[2]}"
        monkeypatch.setitem(NAMES, "rebind.example", "127.0.0.1")
        monkeypatch.setattr("tiffin.builder.registry.transport.is_private", lambda host: False)
        with pytest.raises(RegistryError, match=r"leads to the private address 127\.0\.0\.1"):
            pull(client)
        assert not neighbour.log


@pytest.mark.usefixtures("resolved_hosts")
def test_a_public_download_leads_to_no_private_address() -> None:
    with fake_registry(address=PUBLIC) as fake, fake_registry() as neighbour:
        neighbour.put(DATA)
        fake.redirect_to = f"http://{neighbour.host}"
        port = fake.host.partition(":")[2]
        url = f"http://public.example:{port}/v2/x/blobs/{Digest.of(DATA)}"
        with pytest.raises(RegistryError, match="leads to the private address"):
            download(url, io.BytesIO())
        assert not neighbour.log
        assert download(url, io.BytesIO(), private=("127.0.0.1",)).changed


@pytest.mark.parametrize("status", [500, 503])
def test_a_download_is_tried_again_and_resumed_by_nothing(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiffin.builder.registry.download.BACK_OFF_SECONDS", 0.001)
    with fake_registry(fail=[status], cut_after=[10]) as fake:
        url = f"http://{fake.host}/v2/x/blobs/{fake.put(DATA)}"
        sink = io.BytesIO()
        assert download(url, sink).changed and sink.getvalue() == DATA, "what was cut off is written anew"
        assert len(fake.log) == 3


def test_a_download_of_nobody_names_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiffin.builder.registry.download.BACK_OFF_SECONDS", 0.001)
    with pytest.raises(RegistryError, match="Connection refused") as caught:
        download("http://user:s3cret@127.0.0.1:1/f?token=s3cret", io.BytesIO())
    assert "s3cret" not in str(caught.value)


# -- words
# ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "url", "expected"),
    [
        ("https://h/a/b", "c", "https://h/a/c"),
        ("https://h/a", "//other/x", "https://other/x"),
        ("https://h/a", "http://h/x", "https://h/x"),
        ("https://h/a", "http://other/x", "http://other/x"),
        ("http://h/a", "http://h/x", "http://h/x"),
    ],
)
def test_addresses_of_answers(base: str, url: str, expected: str) -> None:
    """A server behind a proxy that ends TLS may name itself by http."""
    assert joined(base, url) == expected


@pytest.mark.parametrize("url", ["http://", "http://h:0/", "http://h:x/", "http://[::1", "nothing"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(RegistryError, match="is not a usable address"):
        split(url)


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin("https://h/x") == origin("https://h:443/y") == ("https", "h", 443)
    assert len({origin(url) for url in ("https://h", "http://h", "https://h:444", "https://i")}) == 4


class Body:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, amt: int, *, decode_content: bool) -> bytes:
        if self._data == b"broken":
            raise OSError
        return self._data[:amt]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"errors": [{"code": "DENIED", "message": "not\\n yours"}]}', ": not yours"),
        (b'{"errors": [{"code": "DENIED"}]}', ": DENIED"),
        (b"<html><title>413 Request Entity Too Large</title>", ": Request Entity Too Large"),
        (b'{"errors": []}', ""), (b'{"errors": [7]}', ""), (b"[" * 10 * DEEP, ""), (b"", ""), (b"broken", ""),
    ],
)  # fmt: skip
def test_what_a_registry_says_of_an_error(data: bytes, words: str) -> None:
    if len(data) > DEEP:  # at the limit of recursion the finalizers of what earlier tests left would fail
        gc.collect()
    assert detail(Body(data)) == words


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[SSL: WRONG_VERSION_NUMBER] wrong version", "speaks plain http"),
        ("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED]", "wants a certificate of this client"),
        ("EOF occurred in violation of protocol", "wants a certificate of this client"),
        ("certificate verify failed: certificate has expired (_ssl.c:1)", "not trusted (certificate has expired"),
        ("certificate verify failed: Hostname mismatch, (x)", "not trusted (Hostname mismatch"),
        ("certificate verify failed: self-signed certificate (_ssl.c)", "not trusted (self-signed certificate"),
        ("[SSL: UNSUPPORTED_PROTOCOL] unsupported protocol (_ssl.c)", "TLS handshake with h failed: unsupported"),
        ("?", "no answer that is TLS"),
    ],
)
def test_what_a_failed_handshake_means(text: str, says: str) -> None:
    error = tls_error(OSError(text), "h")
    assert says in str(error)
    assert wants_certificate(text) == ("ALERT_CERTIFICATE" in text)


def test_a_client_goes_through_every_page_of_tags() -> None:
    with fake_registry(tags=["c"]) as beside, fake_registry(tags=["a", "b"]) as fake:
        client = RegistryClient(fake.host, DockerConfig.load({}), RegistryOptions(tries=1))
        assert client.tags("x") == ["a", "b"]
        fake.link = f'<http://{beside.host}/v2/x/tags/list?n=2>; rel="next"'
        assert client.tags("x") == ["a", "b", "c"]
