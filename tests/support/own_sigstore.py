"""A Sigstore of our own: an authority, a log of certificates and a log of signatures, as far as bundles show them."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from tiffin.builder.image.signing.envelope import BUNDLE, pre_authentication

IN_TOTO = "application/vnd.in-toto+json"
NOW = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)
SINCE = "2025-01-01T00:00:00Z"
TEN_MINUTES = datetime.timedelta(minutes=10)
SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
FULCIO = "1.3.6.1.4.1.57264.1"
ISSUER = x509.ObjectIdentifier(f"{FULCIO}.8")
ORIGIN = "log.example - 1"
SHA256 = ec.ECDSA(hashes.SHA256())


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_id(key: ec.EllipticCurvePrivateKey) -> bytes:
    return hashlib.sha256(spki(key)).digest()


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class OwnSigstore:
    """Its keys, made anew."""

    authority: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    log: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    certificates: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    common_name: str = "authority.example"
    organization: str = ""

    def __post_init__(self) -> None:
        by_oid = {x509.NameOID.ORGANIZATION_NAME: self.organization, x509.NameOID.COMMON_NAME: self.common_name}
        self.name = x509.Name([x509.NameAttribute(oid, text) for oid, text in by_oid.items() if text])
        usage = _usage(key_cert_sign=True, crl_sign=True)
        self.root = (
            _certificate(self.name, self.name, self.authority, NOW - 300 * TEN_MINUTES, NOW + 300 * TEN_MINUTES)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.authority.public_key()), critical=False)
            .sign(self.authority, hashes.SHA256())
        )

    def write_root(self, path: Path) -> Path:
        """Write what a verifier trusts, in the form of Sigstore."""
        root = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [_log(self.log)],
            "ctlogs": [_log(self.certificates)],
            "certificateAuthorities": [
                {
                    "subject": {"organization": "example", "commonName": "authority.example"},
                    "uri": "https://authority.example",
                    "certChain": {"certificates": [{"rawBytes": b64(self.root.public_bytes(Encoding.DER))}]},
                    "validFor": {"start": SINCE},
                }
            ],
            "timestampAuthorities": [],
        }
        path.write_text(json.dumps(root))
        return path

    def bundle(
        self,
        statement: bytes,
        identity: str,
        issuer: str,
        *,
        signed_at: datetime.datetime = NOW + TEN_MINUTES / 2,
        claims: Mapping[int, str] | None = None,
    ) -> bytes:
        """Sign a statement as an identity (a URI, or an address), with a certificate that is valid for ten minutes from
        NOW; `claims` by the last number of Fulcio's extensions.
        """
        key = new_key()
        certificate = self._leaf(key, identity, issuer, claims or {})
        signature = key.sign(pre_authentication(IN_TOTO, statement), SHA256)
        envelope = {"payload": b64(statement), "payloadType": IN_TOTO, "signatures": [{"sig": b64(signature)}]}
        entry = self._entry(envelope, statement, signature, certificate, int(signed_at.timestamp()))
        material = {
            "certificate": {"rawBytes": b64(certificate.public_bytes(Encoding.DER))},
            "tlogEntries": [entry],
        }
        return json.dumps({"mediaType": BUNDLE, "verificationMaterial": material, "dsseEnvelope": envelope}).encode()

    def _leaf(
        self, key: ec.EllipticCurvePrivateKey, identity: str, issuer: str, claims: Mapping[int, str]
    ) -> x509.Certificate:
        name = x509.UniformResourceIdentifier(identity) if "://" in identity else x509.RFC822Name(identity)
        builder = (
            _certificate(x509.Name([]), self.name, key, NOW, NOW + TEN_MINUTES)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority.public_key()), critical=False
            )
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
            .add_extension(x509.UnrecognizedExtension(ISSUER, _utf8(issuer)), critical=False)
        )
        for number, text in claims.items():
            oid = x509.ObjectIdentifier(f"{FULCIO}.{number}")
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, _utf8(text)), critical=False)
        unlogged = builder.sign(self.authority, hashes.SHA256()).tbs_certificate_bytes
        moment = int(NOW.timestamp() * 1000)
        logged = key_id(self.authority) + struct.pack("!I", len(unlogged))[1:] + unlogged
        signed = struct.pack("!BBQH", 0, 0, moment, 1) + logged + struct.pack("!H", 0)
        signature = self.certificates.sign(signed, SHA256)
        sct = b"\0" + key_id(self.certificates) + struct.pack("!QHBBH", moment, 0, 4, 3, len(signature)) + signature
        scts = struct.pack("!HH", len(sct) + 2, len(sct)) + sct
        octets = b"\x04" + (bytes([len(scts)]) if len(scts) < 128 else bytes([0x81, len(scts)])) + scts
        builder = builder.add_extension(x509.UnrecognizedExtension(SCT_LIST, octets), critical=False)
        return builder.sign(self.authority, hashes.SHA256())

    def _entry(
        self, envelope: object, payload: bytes, signature: bytes, certificate: x509.Certificate, moment: int
    ) -> dict[str, Any]:
        body = json.dumps(
            {
                "apiVersion": "0.0.1",
                "kind": "dsse",
                "spec": {
                    "envelopeHash": {"algorithm": "sha256", "value": _sha256(json.dumps(envelope).encode()).hex()},
                    "payloadHash": {"algorithm": "sha256", "value": _sha256(payload).hex()},
                    "signatures": [
                        {"signature": b64(signature), "verifier": b64(certificate.public_bytes(Encoding.PEM))}
                    ],
                },
            },
            sort_keys=True,
            separators=(",", ":"),
        ).encode()
        root = _sha256(b"\0" + body)
        note = f"{ORIGIN}\n1\n{b64(root)}\n"
        signed = self.log.sign(note.encode(), SHA256)
        promised = {"body": b64(body), "integratedTime": moment, "logID": key_id(self.log).hex(), "logIndex": 0}
        promise = json.dumps(promised, sort_keys=True, separators=(",", ":")).encode()
        return {
            "logIndex": "0",
            "logId": {"keyId": b64(key_id(self.log))},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(moment),
            "inclusionPromise": {"signedEntryTimestamp": b64(self.log.sign(promise, SHA256))},
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": b64(root),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": f"{note}\n— {ORIGIN.split()[0]} {b64(key_id(self.log)[:4] + signed)}\n"},
            },
            "canonicalizedBody": b64(body),
        }


def _utf8(text: str) -> bytes:
    """Return a UTF8String of DER."""
    data = text.encode()
    return b"\x0c" + (bytes([len(data)]) if len(data) < 128 else bytes([0x81, len(data)])) + data


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _log(key: ec.EllipticCurvePrivateKey) -> dict[str, object]:
    public = {"rawBytes": b64(spki(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": {"start": SINCE}}
    return {
        "baseUrl": "https://log.example",
        "hashAlgorithm": "SHA2_256",
        "publicKey": public,
        "logId": {"keyId": b64(key_id(key))},
    }


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    start: datetime.datetime,
    end: datetime.datetime,
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=issuer,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=start,
        not_valid_after=end,
    )


def _usage(**used: bool) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: used.get(name, False) for name in names})
