"""Signed statements: DSSE envelopes, in the bundles in which Sigstore's tools keep them (v0.3)."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING

from tiffin.builder.errors import ImageError
from tiffin.builder.image.attached.artifact import BUNDLE_PREDICATE, SIGNER, Document
from tiffin.builder.image.attached.attestation import IN_TOTO, Statement
from tiffin.builder.oci.json_fields import Fields
from tiffin.cache.foundation.frozen import dataclass

if TYPE_CHECKING:
    from tiffin.builder.image.signing.keys import SigningKey, VerifyingKey

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
BUNDLES = (BUNDLE, "application/vnd.dev.sigstore.bundle+json;version=0.3")
ENVELOPE = "application/vnd.dsse.envelope.v1+json"
BUNDLE_CONTENT = "dev.sigstore.bundle.content"


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A DSSE envelope: what is signed, of which type it is, and the signatures."""

    payload: bytes
    payload_type: str
    signatures: tuple[bytes, ...]

    @classmethod
    def from_fields(cls, fields: Fields) -> Envelope:
        signatures = tuple(_decoded(child.text("sig"), child.path) for child in fields.children("signatures"))
        return cls(
            payload=_decoded(fields.text("payload"), fields.path),
            payload_type=fields.text("payloadType"),
            signatures=signatures,
        )

    @property
    def signed(self) -> bytes:
        """Return the bytes that a signature is made of (DSSE's pre-authentication encoding)."""
        return pre_authentication(self.payload_type, self.payload)

    def is_signed_by(self, key: VerifyingKey) -> bool:
        """Whether one of the signatures is of this key."""
        return any(key.is_valid(signature, self.signed) for signature in self.signatures)

    def statement(self) -> Statement:
        """Return the statement that is signed. Raises ImageError where it is something else."""
        if self.payload_type != IN_TOTO and not self.payload_type.startswith("application/vnd.in-toto"):
            raise ImageError(f"the envelope has {self.payload_type}", remedy="an in-toto statement is expected")
        return Statement.decode(self.payload)

    def to_json(self) -> dict[str, object]:
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [{"sig": base64.b64encode(item).decode()} for item in self.signatures],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle with an envelope; `has_certificate`: it was signed without a key of its own ("keyless")."""

    envelope: Envelope
    has_certificate: bool
    data: bytes

    @classmethod
    def decode(cls, data: bytes) -> Bundle:
        """Read a bundle; raises ImageError for one of another form."""
        fields = Fields.decode(data, "bundle")
        if fields.text("mediaType") not in BUNDLES:
            raise ImageError(f"a bundle of type {fields.text('mediaType')}", remedy=f"{BUNDLE} is read")
        if not fields.has("dsseEnvelope"):
            raise ImageError("the bundle has no DSSE envelope", remedy="sign the image, not a file")
        material = fields.child("verificationMaterial")
        return cls(
            envelope=Envelope.from_fields(fields.child("dsseEnvelope")),
            has_certificate=material.has("certificate") or material.has("x509CertificateChain"),
            data=data,
        )


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's PAE of a payload."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(statement: bytes, key: SigningKey) -> bytes:
    """Return a statement signed, as a bundle."""
    signature = key.sign(pre_authentication(IN_TOTO, statement))
    envelope = Envelope(payload=statement, payload_type=IN_TOTO, signatures=(signature,))
    bundle = {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": key.public.hint}, "tlogEntries": []},
        "dsseEnvelope": envelope.to_json(),
    }
    return json.dumps(bundle, separators=(",", ":")).encode()


def bundled(data: bytes, predicate_type: str, signer: str) -> Document:
    """Return a bundle as a document to attach."""
    annotations = {BUNDLE_CONTENT: "dsse-envelope", BUNDLE_PREDICATE: predicate_type, SIGNER: signer}
    return Document(data=data, media_type=BUNDLE, annotations=annotations)


def _decoded(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise ImageError(f"{where} is not base64", remedy="the document is damaged") from exc
