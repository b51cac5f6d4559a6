"""Sign images that are somewhere, and verify them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from tiffin.builder.api.attest.listing import Said, kinds_of, said_of
from tiffin.builder.api.attest.signers import BUNDLE as BUNDLE
from tiffin.builder.api.attest.signers import SIMPLE, signer_of
from tiffin.builder.api.build_options import SignOptions
from tiffin.builder.errors import UsageError, VerificationError
from tiffin.builder.image.attached.cosign_tags import SUFFIXES, adding_layers
from tiffin.builder.image.attached.finding import IN_INDEX, found_in, subjects_of
from tiffin.builder.image.attached.places import AttachedPlace, RegistryPlace
from tiffin.builder.image.signing.keys import read_verifying_key
from tiffin.builder.image.signing.statements import (
    KeySigner,
    Signer,
    attested_in,
    claims_of,
    signature_of,
)
from tiffin.builder.image.signing.verifying import Checker, KeyChecker
from tiffin.builder.image.signing.verifying import Verified as Verified
from tiffin.builder.image.signing.verifying import verify as verify_documents
from tiffin.builder.oci.spec import Descriptor
from tiffin.builder.settings.access import TRUSTED_ROOT_VARIABLE
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whose signatures count: those of a key, or of an identity (a name or pattern, and who vouches for it)."""

    key: str = ""
    identity: str = ""
    identity_pattern: str = ""
    issuer: str = ""
    issuer_pattern: str = ""
    trusted_root: str = ""  # a file; "" for the public Sigstore's, as the package has it


def sign(place: AttachedPlace, options: SignOptions, claims: Mapping[str, str]) -> list[Digest]:
    """Sign an image where it is and, of an index, its images; return what was signed. Raises UsageError."""
    signer = signer_of(options, os.environ)
    subjects = subjects_of(place)
    documents = [found for found in found_in(place, subjects, SUFFIXES) if found.where != IN_INDEX]
    signed = []
    for subject in subjects:
        digest = subject.descriptor.digest
        is_top = subject is subjects[0]
        about = [found for found in documents if is_top or found.subject == digest]
        said = claims_of(attested_in(about), claims)
        if options.format == SIMPLE:
            _sign_simply(place, subject.descriptor, signer, said)
        else:
            place.signatures.attach(signature_of(subject.descriptor, said, signer))
        signed.append(digest)
    return signed


def _sign_simply(place: AttachedPlace, subject: Descriptor, signer: Signer, claims: Mapping[str, object]) -> None:
    """Add a signature of cosign's first form under the image's tag of signatures."""
    from tiffin.builder.image.attached.shared_tags import change_tags
    from tiffin.builder.image.signing.simple import (
        SimpleSignature,
        layer_of,
        payload_of,
        signature_tag,
    )
    from tiffin.builder.oci.spec import OCI_MANIFEST

    if not isinstance(place, RegistryPlace) or not isinstance(signer, KeySigner):
        raise UsageError("signatures of the simple form are made with a key, in a registry", remedy="use format=bundle")
    if signer.key.public.is_ed25519:
        remedy = "use format=bundle, or a key of ECDSA P-256"
        raise UsageError("cosign reads no signatures of the simple form by ed25519 keys", remedy=remedy)
    payload = payload_of(place.reference, subject.digest, claims)
    layer = layer_of(SimpleSignature(payload=payload, signature=signer.key.sign(payload)))
    client, repository = place.signatures.client, place.signatures.reference.repository
    client.push_bytes(repository, payload, layer.media_type)

    adding = adding_layers(client, repository, [layer])
    change_tags(client, repository, OCI_MANIFEST, {signature_tag(subject.digest): adding})


def checker_of(trust: Trust) -> Checker:
    """Return what tells good signatures. Raises UsageError where nobody is trusted."""
    if trust.key:
        return KeyChecker(key=read_verifying_key(trust.key, os.environ))
    if not (trust.identity or trust.identity_pattern):
        raise UsageError(
            "whose signature is wanted?",
            remedy="give --key FILE, or --certificate-identity and --certificate-oidc-issuer",
        )
    if not (trust.issuer or trust.issuer_pattern):
        raise UsageError(
            "an identity counts with who vouches for it", remedy="give --certificate-oidc-issuer or its -regexp"
        )
    from tiffin.builder.image.signing.keyless import Identity, KeylessChecker

    identity = Identity(
        name=trust.identity,
        name_pattern=trust.identity_pattern,
        issuer=trust.issuer,
        issuer_pattern=trust.issuer_pattern,
    )
    return KeylessChecker(identity, trust.trusted_root or os.environ.get(TRUSTED_ROOT_VARIABLE, ""))


def verify(place: AttachedPlace, trust: Trust, wanted: Sequence[str] = ()) -> Verified:
    """Verify who signed an image, and that all attestations that the signature lists are there.

    `wanted` are words for types of predicates that it has to have. Raises VerificationError, UsageError.
    """
    checker = checker_of(trust)
    subjects = subjects_of(place)
    documents = list(found_in(place, subjects, SUFFIXES))
    verified = verify_documents(place.name, subjects, documents, checker)
    kinds = {entry.rpartition("@")[0] for entry in verified.listed}
    kinds |= {item.predicate_type for item in verified.attestations}
    for word in wanted:
        if not kinds & set(kinds_of(word)):
            raise VerificationError(
                f"{place.name} has no signed attestation of type {word}",
                remedy=f"it has {', '.join(sorted(kinds)) or 'none'}",
            )
    return verified


def verify_attestations(place: AttachedPlace, trust: Trust, wanted: Sequence[str] = ()) -> Verified:
    """Verify an image, and that each of its attestations is signed or listed by its signature."""
    verified = verify(place, trust, wanted)
    for item in said_of(place):
        if item.statement is None or item.predicate_type in kinds_of("signature") or is_covered(item, verified):
            continue
        raise VerificationError(
            f"{place.name} has an attestation of type {item.predicate_type} that nobody vouches for",
            remedy="remove it, or sign the image again",
        )
    return verified


def is_covered(item: Said, verified: Verified) -> bool:
    """Whether an attestation is signed itself, or listed by a good signature of the image."""
    if any(item.found == good.found for good in verified.attestations):
        return True
    entries = set(attested_in([item.found]))
    return bool(entries) and entries <= set(verified.listed)
