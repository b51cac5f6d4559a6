"""List and show what is said of an image."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.errors import ImageNotFoundError
from tiffin.builder.image.attached.attestation import CYCLONEDX, OLD_PROVENANCE, PROVENANCE, SPDX, Statement
from tiffin.builder.image.attached.cosign_tags import SUFFIXES
from tiffin.builder.image.attached.finding import Found, found_in, subjects_of
from tiffin.builder.image.attached.places import AttachedPlace
from tiffin.builder.image.signing.simple import SIMPLE_SIGNING
from tiffin.builder.image.signing.statements import SIGN_PREDICATE, envelope_in
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass

KINDS = {
    "provenance": (PROVENANCE, OLD_PROVENANCE),
    "slsaprovenance": (OLD_PROVENANCE,),
    "slsaprovenance1": (PROVENANCE,),
    "sbom": (SPDX, CYCLONEDX),
    "spdx": (SPDX,),
    "spdxjson": (SPDX,),
    "cyclonedx": (CYCLONEDX,),
    "openvex": ("https://openvex.dev/ns", "https://openvex.dev/ns/v0.2.0"),
    "vuln": ("https://cosign.sigstore.dev/attestation/vuln/v1",),
    "signature": (SIGN_PREDICATE,),
}  # as people name types of predicates; cosign's words among them


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One document about an image: of which platform ("" for an index), of which type, where, and whether signed."""

    platform: str
    subject: Digest
    predicate_type: str
    found: Found
    is_signed: bool
    statement: Statement | None  # None for a signature of cosign's first form


def said_of(place: AttachedPlace) -> list[Said]:
    """Return all that is said of an image and, of an index, of its images. Raises RegistryError, ImageError."""
    subjects = subjects_of(place)
    platforms = {item.descriptor.digest: str(item.platform or "") for item in subjects}
    result = []
    for found in found_in(place, subjects, SUFFIXES):
        envelope = envelope_in(found)
        statement = None
        if envelope is not None:
            statement = envelope.statement()
        elif found.layer.media_type != SIMPLE_SIGNING:
            if not found.predicate_type:
                continue  # something else that refers to the image
            statement = Statement.decode(found.data)
        result.append(
            Said(
                platform=platforms.get(found.subject, ""),
                subject=found.subject,
                predicate_type=statement.attestation.predicate_type if statement is not None else SIMPLE_SIGNING,
                found=found,
                is_signed=envelope is not None or statement is None,
                statement=statement,
            )
        )
    return result


def kinds_of(word: str) -> Sequence[str]:
    """Return the types of predicates that a word stands for."""
    return KINDS.get(word, (word,))


def shown(place: AttachedPlace, word: str, platform: str) -> list[Said]:
    """Return the attestations of a type ("" for all), of one platform ("" for all). Raises ImageNotFoundError."""
    wanted = kinds_of(word) if word else ()
    found = [
        item
        for item in said_of(place)
        if item.statement is not None
        and (item.predicate_type in wanted if wanted else item.predicate_type != SIGN_PREDICATE)
        and (not platform or not item.platform or item.platform == platform)
    ]
    if not found:
        what = f" of type {word}" if word else ""
        raise ImageNotFoundError(f"{place.name} has no attestation{what}", remedy="see tiffin attest ls")
    return found
