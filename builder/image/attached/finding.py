"""Attestations of an image wherever they are kept: as referrers, in the image's index, under cosign's tags."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tiffin.builder.errors import ImageError
from tiffin.builder.image.attached.artifact import ATTESTATION_MANIFEST, REFERENCE_TYPE, subject_of
from tiffin.builder.image.attached.attestation import IN_TOTO, PREDICATE_ANNOTATION, Statement
from tiffin.builder.image.attached.places import AttachedPlace
from tiffin.builder.oci.spec import INDEX_TYPES, REFERENCE_DIGEST, Descriptor, Index, Manifest, Platform
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass

REFERRER, IN_INDEX, TAG = "referrer", "index", "tag"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An image that something is said of; `platform` is None for an index, or where it is not known."""

    descriptor: Descriptor
    platform: Platform | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A document about an image: a statement, a bundle or an envelope with one, or a simple signature.

    `where` it is kept is REFERRER, IN_INDEX or TAG; `layer` describes it in its manifest.
    """

    subject: Digest
    where: str
    manifest: Digest
    layer: Descriptor
    data: bytes

    @property
    def predicate_type(self) -> str:
        return self.layer.annotations.get(PREDICATE_ANNOTATION, "")


def subjects_of(place: AttachedPlace) -> tuple[Subject, ...]:
    """Return what a name stands for, and the images of an index. Raises RegistryError, ImageNotFoundError."""
    image = place.image()
    top = Subject(descriptor=image, platform=None)
    if image.media_type not in INDEX_TYPES:
        return (top,)
    rows = [row for row in _rows(place, image) if row.platform is None or row.platform.os != "unknown"]
    return (top, *(Subject(descriptor=row, platform=row.platform) for row in rows))


def found_in(place: AttachedPlace, subjects: tuple[Subject, ...], tags: tuple[str, ...] = ()) -> Iterator[Found]:
    """Yield all documents about `subjects`; `tags` are cosign's suffixes to look under as well."""
    image = subjects[0].descriptor
    if image.media_type in INDEX_TYPES:
        for row in _rows(place, image):
            if row.annotations.get(REFERENCE_TYPE) == ATTESTATION_MANIFEST:
                about = Digest.parse(row.annotations.get(REFERENCE_DIGEST, ""))
                yield from _documents(place, about, IN_INDEX, str(row.digest))
    for kept in (place,) if place.signatures is place else (place, place.signatures):
        for digest in (subject.descriptor.digest for subject in subjects):
            for row in kept.referrers(digest):
                yield from _documents(kept, digest, REFERRER, str(row.digest))
            for suffix in tags:
                yield from _documents(kept, digest, TAG, f"{digest.algorithm}-{digest.hex}.{suffix}")


def about_attestations(place: AttachedPlace, image: Descriptor, digest: Digest) -> Iterator[Found]:
    """Yield what refers to the attestations that an index has of one of its images, in BuildKit's form: signatures of
    GitHub's builder are there.
    """
    if image.media_type in INDEX_TYPES:
        for row in _rows(place, image):
            about = row.annotations.get(REFERENCE_DIGEST)
            if row.annotations.get(REFERENCE_TYPE) == ATTESTATION_MANIFEST and about == str(digest):
                for referrer in place.referrers(row.digest):
                    yield from _documents(place, row.digest, REFERRER, str(referrer.digest))


def statement_in(found: Found) -> Statement | None:
    """Return an unsigned statement, None for a document of another kind."""
    if found.layer.media_type != IN_TOTO:
        return None
    statement = Statement.decode(found.data)
    if found.subject not in statement.subjects:
        raise ImageError(
            f"the attestation {found.manifest} is about another image than {found.subject}",
            remedy="it was copied from elsewhere: remove it, or build the image again",
        )
    return statement


def _documents(place: AttachedPlace, subject: Digest, where: str, selector: str) -> Iterator[Found]:
    data = place.manifest(selector)
    if data is None:
        return
    if where == REFERRER and subject_of(data) != subject:
        return  # a list that lies
    for layer in Manifest.decode(data).layers:
        yield Found(subject=subject, where=where, manifest=Digest.of(data), layer=layer, data=place.blob(layer))


def _rows(place: AttachedPlace, image: Descriptor) -> tuple[Descriptor, ...]:
    data = place.manifest(str(image.digest))
    if data is None:
        raise ImageError(f"{place.name} has no {image.digest}", remedy="push the image again")
    return Index.decode(data, str(json.loads(data).get("mediaType", image.media_type))).manifests
