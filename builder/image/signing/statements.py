"""What is signed of an image: cosign's statement, with the attestations that the image had when it was signed.

As the signature lists them, one that is taken away later is missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tiffin.builder.image.attached.artifact import Artifact, referrer
from tiffin.builder.image.attached.attestation import IN_TOTO, STATEMENT_TYPE
from tiffin.builder.image.signing.envelope import BUNDLES, ENVELOPE, Bundle, Envelope, bundled, sign
from tiffin.builder.oci.json_fields import Fields, canonical
from tiffin.builder.oci.spec import Descriptor
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tiffin.builder.image.attached.finding import Found
    from tiffin.builder.image.signing.keys import SigningKey

SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1"
LISTED = "dev.tiffin.attestations"  # of a signed subject: PREDICATE_TYPE@sha256:…, with commas between


class Signer(Protocol):
    """Signs statements; `name` tells signers apart."""

    @property
    def name(self) -> str: ...

    def bundle(self, statement: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySigner:
    """Signs with a key."""

    key: SigningKey

    @property
    def name(self) -> str:
        return self.key.public.hint

    def bundle(self, statement: bytes) -> bytes:
        return sign(statement, self.key)


def entry_of(predicate_type: str, statement: bytes) -> str:
    """Return how a signature lists an attestation."""
    return f"{predicate_type}@{Digest.of(statement)}"


def claims_of(entries: Iterable[str], given: Mapping[str, str]) -> dict[str, object]:
    """Return what is signed besides the digest; nothing where there are no attestations and nothing is given."""
    listed = ",".join(sorted(set(entries)))
    return {**given, **({LISTED: listed} if listed else {})}


def listed_in(claims: Mapping[str, object]) -> tuple[str, ...]:
    """Return the attestations that a signature lists."""
    text = claims.get(LISTED)
    return tuple(entry for entry in text.split(",") if entry) if isinstance(text, str) else ()


def signature_of(subject: Descriptor, claims: Mapping[str, object], signer: Signer) -> Artifact:
    """Return the signature of an image, as an artifact that refers to it."""
    about: dict[str, object] = {"digest": {subject.digest.algorithm: subject.digest.hex}}
    if claims:
        about["annotations"] = dict(claims)
    statement = canonical(
        {"_type": STATEMENT_TYPE, "subject": [about], "predicateType": SIGN_PREDICATE, "predicate": {}}
    )
    return referrer(subject, bundled(signer.bundle(statement), SIGN_PREDICATE, signer.name))


def envelope_in(found: Found) -> Envelope | None:
    """Return what is signed in a document, None where nothing is. Raises ImageError for one that is damaged."""
    if found.layer.media_type in BUNDLES:
        return Bundle.decode(found.data).envelope
    if found.layer.media_type == ENVELOPE:
        return Envelope.from_fields(Fields.decode(found.data, "envelope"))
    return None


def attested_in(documents: Iterable[Found]) -> Iterator[str]:
    """Yield the attestations among documents, as a signature lists them."""
    for found in documents:
        envelope = envelope_in(found)
        if envelope is not None:
            kind = envelope.statement().attestation.predicate_type
            if kind != SIGN_PREDICATE:
                yield entry_of(kind, envelope.payload)
        elif found.layer.media_type == IN_TOTO:
            yield entry_of(found.predicate_type, found.data)
