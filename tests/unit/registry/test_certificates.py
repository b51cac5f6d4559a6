"""Whose certificates count, and what a server is shown of ours."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests.fakes.registry import Fake, fake_registry
from tests.support.certificates import Authority, make_authority
from tiffin.builder.errors import RegistryError, UsageError
from tiffin.builder.oci.spec import OCI_LAYER_GZIP, Descriptor
from tiffin.builder.registry.auth.files import DockerConfig
from tiffin.builder.registry.client import RegistryClient
from tiffin.builder.registry.download import download
from tiffin.builder.registry.transport import RegistryOptions
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.trust import Trust, certs_roots, host_port

DATA = b"layer" * 1000
VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> tuple[Path, Path]:
    return authority.issue("server")


def ask(fake: Fake, environ: dict[str, str], **options: object) -> bool:
    """Whether a client in this environment reaches the registry; raises what it says."""
    trust = Trust(environ, cert_file=str(options.pop("cert_file", "")))
    registry = RegistryClient(fake.host, DockerConfig.load({}), RegistryOptions(tries=1, trust=trust, **options))  # type: ignore[arg-type]
    return registry.head_manifest("x", "y") is None


def certs(home: Path, host: str, place: str = ".config/containers") -> Path:
    folder = home / place / "certs.d" / host
    folder.mkdir(parents=True)
    return folder


@pytest.mark.thorough
@pytest.mark.parametrize("way", ["file", "flag", "requests", "curl", "directory", "two directories", "none"])
def test_what_the_environment_names_is_trusted(
    tmp_path: Path, authority: Authority, pair: tuple[Path, Path], way: str
) -> None:
    bundle = str(authority.certificate)
    loose = tmp_path / "loose"
    loose.mkdir()
    (loose / "corp.pem").write_bytes(authority.certificate.read_bytes())
    environ = {
        "file": {"SSL_CERT_FILE": bundle},
        "requests": {"REQUESTS_CA_BUNDLE": bundle},
        "curl": {"CURL_CA_BUNDLE": bundle},
        "directory": {"SSL_CERT_DIR": str(loose)},
        "two directories": {"SSL_CERT_DIR": f"{tmp_path}/missing:{loose}"},
    }.get(way, {})
    with fake_registry(certificate=pair) as fake:
        fake.put(DATA)
        if way == "none":
            with pytest.raises(
                RegistryError, match=r"is not trusted \(unable to get local issuer certificate\); put its CA"
            ):
                ask(fake, environ)
            return
        assert ask(fake, environ, cert_file=bundle if way == "flag" else "")
        trust = Trust(environ, cert_file=bundle if way == "flag" else "")
        fake.manifests["y"] = (b"{}", "")
        sink = io.BytesIO()
        assert download(f"https://{fake.host}/v2/x/manifests/y", sink, trust=trust).changed and sink.getvalue() == b"{}"


@pytest.mark.parametrize(
    "content", [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"]
)
@pytest.mark.parametrize("variable", VARIABLES)
def test_names_of_nothing_are_told_at_once(
    tmp_path: Path, pair: tuple[Path, Path], variable: str, content: bytes | None
) -> None:
    """Not after five tries, and not as a certificate that is not trusted."""
    named = tmp_path / "named"
    if content is not None and variable != "SSL_CERT_DIR":
        named.write_bytes(content)
    with fake_registry(certificate=pair) as fake:
        with pytest.raises(UsageError, match=f"{named}.*(cannot be read|no certificates|not a directory)"):
            ask(fake, {variable: str(named)})
        with pytest.raises(UsageError, match=variable):
            download(f"https://{fake.host}/x", io.BytesIO(), trust=Trust({variable: str(named)}))
        assert not fake.log


@pytest.mark.thorough
@pytest.mark.parametrize("place", [".config/containers", ".config/docker", ".docker"])
def test_authorities_of_certs_d(tmp_path: Path, authority: Authority, pair: tuple[Path, Path], place: str) -> None:
    with fake_registry(certificate=pair) as fake, fake_registry(certificate=pair) as other:
        (certs(tmp_path, fake.host, place) / "ca.crt").write_bytes(authority.certificate.read_bytes())
        assert ask(fake, {"HOME": str(tmp_path)})
        with pytest.raises(RegistryError, match="is not trusted"):
            ask(other, {"HOME": str(tmp_path)})
        environ = {"XDG_CONFIG_HOME": str(tmp_path / ".config"), "HOME": "/nonexistent"}
        assert place == ".docker" or ask(fake, environ)


def test_authority_of_a_registry_vouches_for_where_it_leads(
    tmp_path: Path, authority: Authority, pair: tuple[Path, Path]
) -> None:
    """A token service and a store of blobs beside the registry have certificates of the same company."""
    with fake_registry(certificate=pair) as beside, fake_registry(certificate=pair, auth="bearer") as fake:
        fake.realm, fake.redirect_to = f"https://{beside.host}/token", f"https://{beside.host}"
        digest = beside.put(DATA)
        (certs(tmp_path, fake.host) / "ca.crt").write_bytes(authority.certificate.read_bytes())
        trust = Trust({"HOME": str(tmp_path)})
        registry = RegistryClient(fake.host, DockerConfig.load({}), RegistryOptions(tries=1, trust=trust))
        wanted = Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.parse(digest), size_bytes=len(DATA))
        with registry.get_blob("x", wanted) as stream:
            assert b"".join(iter(lambda: stream.read(1 << 16), b"")) == DATA
        assert beside.seen("GET", "/token")


def test_certificate_that_is_itself_named(tmp_path: Path) -> None:
    """The certificate of a server, without its authority: as Go takes what is put into certs.d."""
    authority = make_authority(tmp_path / "authority")
    pair = authority.issue("leaf")
    with fake_registry(certificate=pair) as fake:
        (certs(tmp_path, fake.host) / "server.crt").write_bytes(pair[0].read_bytes())
        assert ask(fake, {"HOME": str(tmp_path)})


@pytest.mark.parametrize(
    ("names", "days", "message"),
    [
        (("DNS:elsewhere.example",), 2, r"IP address mismatch.*; use a name that it was made for"),
        ((), -1, r"certificate has expired.*; renew it there, or set the clock here"),
    ],
)
def test_why_a_certificate_is_not_trusted(
    authority: Authority, names: tuple[str, ...], days: int, message: str
) -> None:
    wrong = authority.issue("wrong", *names, days=days)
    with fake_registry(certificate=wrong) as fake, pytest.raises(RegistryError, match=message):
        ask(fake, {"SSL_CERT_FILE": str(authority.certificate)})


# -- client certificates ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["right", "none", "of a stranger", "insecure", "next to a broken one"])
def test_client_certificates(tmp_path: Path, authority: Authority, pair: tuple[Path, Path], way: str) -> None:
    with fake_registry(certificate=pair, client_authority=authority.certificate) as fake:
        folder = certs(tmp_path, fake.host)
        if way != "insecure":
            (folder / "ca.crt").write_bytes(authority.certificate.read_bytes())
        issuer = make_authority(tmp_path / "stranger") if way == "of a stranger" else authority
        if way != "none":
            for source, name in zip(issuer.issue("client"), ("client.cert", "client.key"), strict=True):
                (folder / name).write_bytes(source.read_bytes())
        options = {"insecure_registries": (fake.host,)} if way == "insecure" else {}
        if way in ("none", "of a stranger"):
            with pytest.raises(
                RegistryError, match=rf"wants a certificate of this client; put yours into .*certs.d/{fake.host}"
            ):
                ask(fake, {"HOME": str(tmp_path)}, **options)
            assert not fake.log
        else:
            assert ask(fake, {"HOME": str(tmp_path)}, **options)


@pytest.mark.parametrize("missing", ["client.key", "client.cert"])
def test_half_a_pair_is_named(tmp_path: Path, authority: Authority, pair: tuple[Path, Path], missing: str) -> None:
    with fake_registry(certificate=pair) as fake:
        folder = certs(tmp_path, fake.host)
        for source, name in zip(authority.issue("half"), ("client.cert", "client.key"), strict=True):
            if name != missing:
                (folder / name).write_bytes(source.read_bytes())
        with pytest.raises(UsageError, match=f"has no {missing} beside it"):
            ask(fake, {"HOME": str(tmp_path)})


@pytest.mark.parametrize("fault", ["passphrase", "another key", "no PEM"])
def test_pairs_that_cannot_be_used_are_named(
    tmp_path: Path, authority: Authority, pair: tuple[Path, Path], fault: str
) -> None:
    """A key with a passphrase never asks for it: nobody may be there."""
    with fake_registry(certificate=pair) as fake:
        folder = certs(tmp_path, fake.host)
        certificate, key = authority.issue("faulty")
        (folder / "client.cert").write_bytes(certificate.read_bytes())
        (folder / "client.key").write_bytes(
            authority.issue("other")[1].read_bytes() if fault == "another key" else b"x"
        )
        if fault == "passphrase":
            plain = load_pem_private_key(key.read_bytes(), None)
            locked = plain.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
            (folder / "client.key").write_bytes(locked)
        with pytest.raises(
            UsageError, match=r"cannot use the client certificate .*client\.cert with the key .*client\.key"
        ):
            ask(fake, {"HOME": str(tmp_path)})


@pytest.mark.thorough
def test_our_certificate_is_shown_to_its_registry_alone(
    tmp_path: Path, authority: Authority, pair: tuple[Path, Path]
) -> None:
    """Where a registry leads for a blob nobody is told who we are."""
    other, wanted = authority.issue("localhost", "DNS:localhost"), authority.certificate
    with (
        fake_registry(certificate=other, client_authority=wanted, address="localhost") as store,
        fake_registry(certificate=pair, client_authority=wanted) as fake,
    ):
        folder = certs(tmp_path, fake.host)
        (folder / "ca.crt").write_bytes(wanted.read_bytes())
        for source, name in zip(authority.issue("mine"), ("client.cert", "client.key"), strict=True):
            (folder / name).write_bytes(source.read_bytes())
        fake.redirect_to = f"https://{store.host}"
        assert ask(fake, {"HOME": str(tmp_path)})
        options = RegistryOptions(tries=1, trust=Trust({"HOME": str(tmp_path)}))
        blob = Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(DATA), size_bytes=len(DATA))
        with pytest.raises(RegistryError, match=f"{store.host} wants a certificate"):
            RegistryClient(fake.host, DockerConfig.load({}), options).open_blob("x", blob, 0)
        assert fake.log and not store.log


@pytest.mark.parametrize("insecure", [True, False])
def test_token_service_over_plain_http_is_for_insecure_registries(
    authority: Authority, pair: tuple[Path, Path], insecure: bool
) -> None:
    """Who calls a registry insecure has said that others may listen; for any other credentials stay on https."""
    with (
        fake_registry() as tokens,
        fake_registry(certificate=pair, auth="bearer", realm=f"http://{tokens.host}/token") as fake,
    ):
        if insecure:
            assert ask(fake, {}, insecure_registries=(fake.host,)) and tokens.seen("GET", "/token")
        else:
            with pytest.raises(RegistryError, match="leads from https to http"):
                ask(fake, {"SSL_CERT_FILE": str(authority.certificate)})
            assert not tokens.log


def test_places_of_certs_d() -> None:
    """The user's before the machine's, as podman and docker have them."""
    assert certs_roots({"HOME": "/h"}) == [
        *("/h/.config/containers/certs.d", "/h/.config/docker/certs.d", "/h/.docker/certs.d"),
        *("/etc/containers/certs.d", "/etc/docker/certs.d"),
    ]
    assert certs_roots({}) == ["/etc/containers/certs.d", "/etc/docker/certs.d"]
    assert certs_roots({"XDG_CONFIG_HOME": "/x"})[0] == "/x/containers/certs.d"


@pytest.mark.parametrize(
    ("folder", "host", "counts"),
    [
        ("reg.corp", "reg.corp", True),
        ("reg.corp:443", "reg.corp", True),
        ("reg.corp", "reg.corp:443", True),
        ("reg.corp:5000", "reg.corp:5000", True),
        ("reg.corp", "reg.corp:5000", False),
        ("reg.corp:5000", "reg.corp", False),
        ("[::1]:5000", "[::1]:5000", True),
        ("[::1]", "[::1]", True),
    ],
)
def test_which_directory_is_of_a_host(tmp_path: Path, folder: str, host: str, counts: bool) -> None:
    (certs(tmp_path, folder) / "ca.crt").write_text("")
    assert bool(Trust({"HOME": str(tmp_path)}).of_host(host).files) == counts


@pytest.mark.parametrize(
    ("name", "port", "text"),
    [("h", None, "h"), ("h", 5000, "h:5000"), ("::1", None, "[::1]"), ("::1", 443, "[::1]:443")],
)
def test_names_of_hosts_with_ports(name: str, port: int | None, text: str) -> None:
    assert host_port(name, port) == text


@pytest.mark.parametrize("way", ["a file", "other files"])
def test_what_of_certs_d_does_not_count(tmp_path: Path, way: str) -> None:
    folder = certs(tmp_path, "reg.corp")
    if way == "a file":
        folder.rmdir()
        folder.write_text("x")
    else:
        for name in ("README", "ca.pem", "ca.crt~", "hosts.toml"):
            (folder / name).write_text("x")
    assert not Trust({"HOME": str(tmp_path)}).of_host("reg.corp").files


@pytest.mark.parametrize("name", ["..", "../..", ".", "a/../..", "\x00", ""])
def test_no_name_of_a_host_leads_out_of_certs_d(tmp_path: Path, name: str) -> None:
    (certs(tmp_path, "x").parent.parent / "ca.crt").write_text("not a certificate")
    (tmp_path / ".config/containers/certs.d/ca.crt").write_text("not a certificate")
    assert not Trust({"HOME": str(tmp_path)}).of_host(name).files
