"""A private certificate authority of a test's own."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

LIFE_DAYS = 2
NOBODY = {
    "content_commitment": False, "key_encipherment": False, "data_encipherment": False, "key_agreement": False,
    "encipher_only": False, "decipher_only": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """`certificate` is what others trust."""

    folder: Path
    certificate: Path
    name: x509.Name
    key: ec.EllipticCurvePrivateKey

    def issue(self, name: str, *names: str, days: int = LIFE_DAYS) -> tuple[Path, Path]:
        """A certificate and its key, for a server with these names (`DNS:…`, `IP:…`; the loopback address by
        default), or a client.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([_general(text) for text in names or ("IP:127.0.0.1",)])
        made = (
            _begun(_called(name), self.name, key.public_key(), days)
            .add_extension(alternatives, critical=False)
            .add_extension(x509.KeyUsage(True, key_cert_sign=False, crl_sign=False, **NOBODY), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        return _written(self.folder, name, made.sign(self.key, SHA256()), key)


def make_authority(folder: Path) -> Authority:
    """A new one, with all it makes in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    key, name = ec.generate_private_key(ec.SECP256R1()), _called("A CA of our own")
    made = (
        _begun(name, name, key.public_key(), LIFE_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    certificate, _ = _written(folder, "ca", made.sign(key, SHA256()), key, ending="crt")
    return Authority(folder=folder, certificate=certificate, name=name, key=key)


def _called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(text: str) -> x509.GeneralName:
    kind, _, value = text.partition(":")
    return x509.IPAddress(ipaddress.ip_address(value)) if kind == "IP" else x509.DNSName(value)


def _begun(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    begins = now - timedelta(minutes=5) if days >= 0 else now + timedelta(days=days - 1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(now + timedelta(days=days))
    )


def _written(
    folder: Path, name: str, made: x509.Certificate, key: ec.EllipticCurvePrivateKey, *, ending: str = "cert"
) -> tuple[Path, Path]:
    pair = folder / f"{name}.{ending}", folder / f"{name}.key"
    pair[0].write_bytes(made.public_bytes(Encoding.PEM))
    pair[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return pair
