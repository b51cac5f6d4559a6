"""Cosign's first form of signatures: simple signing, images under a tag that is made of the digest."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from tiffin.builder.errors import ImageError
from tiffin.builder.oci.json_fields import Fields, canonical
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Descriptor
from tiffin.cache.errors import DigestError
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
TYPE = "cosign container image signature"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimpleSignature:
    """A payload and its signature; what the payload says of the image."""

    payload: bytes
    signature: bytes

    @property
    def digest(self) -> Digest:
        """Return the digest that is signed. Raises ImageError."""
        critical = Fields.decode(self.payload, "payload").child("critical")
        if critical.text("type") != TYPE:
            raise critical.wrong("type", f'"{TYPE}"')
        try:
            return Digest.parse(critical.child("image").text("docker-manifest-digest"))
        except DigestError as exc:
            raise critical.wrong("image.docker-manifest-digest", "a digest") from exc

    @property
    def claims(self) -> Mapping[str, object]:
        """Return what is signed besides."""
        fields = Fields.decode(self.payload, "payload")
        return fields.child("optional").members if fields.has("optional") else {}


def signature_tag(digest: Digest) -> str:
    """Return the tag under which an image's signatures are."""
    return f"{digest.algorithm}-{digest.hex}.sig"


def attestation_tag(digest: Digest) -> str:
    """Return the tag under which cosign before version 3 has an image's signed attestations."""
    return f"{digest.algorithm}-{digest.hex}.att"


def payload_of(name: Reference, digest: Digest, claims: Mapping[str, object]) -> bytes:
    """Return what is signed of an image."""
    critical = {
        "identity": {"docker-reference": name.name},
        "image": {"docker-manifest-digest": str(digest)},
        "type": TYPE,
    }
    return canonical({"critical": critical, "optional": dict(claims) or None})


def layer_of(made: SimpleSignature) -> Descriptor:
    """Return how the manifest lists a signature."""
    return Descriptor(
        media_type=SIMPLE_SIGNING,
        digest=Digest.of(made.payload),
        size_bytes=len(made.payload),
        annotations={SIGNATURE: base64.b64encode(made.signature).decode()},
    )


def read_signature(layer: Descriptor, payload: bytes) -> SimpleSignature:
    """Return the signature that a layer has. Raises ImageError."""
    try:
        signature = base64.b64decode(layer.annotations.get(SIGNATURE, ""), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise ImageError(f"the signature {layer.digest} is not base64", remedy="sign the image again") from exc
    return SimpleSignature(payload=payload, signature=signature)
