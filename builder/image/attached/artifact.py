"""Documents as manifests: artifacts that refer to an image (image-spec manifest.md, `subject`), and the manifests in
which BuildKit puts attestations into the index of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tiffin.builder.errors import ImageError
from tiffin.builder.image.attached.attestation import IN_TOTO, PREDICATE_ANNOTATION
from tiffin.builder.oci.json_fields import Fields, canonical
from tiffin.builder.oci.spec import (
    MAX_DOCUMENT_BYTES,
    OCI_CONFIG,
    OCI_MANIFEST,
    REFERENCE_DIGEST,
    Descriptor,
    Manifest,
    Platform,
)
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, replace

MAX_ATTESTATION_BYTES = 256 << 20  # an SBOM of a large image is long
EMPTY_TYPE, EMPTY = "application/vnd.oci.empty.v1+json", b"{}"
REFERENCE_TYPE = "vnd.docker.reference.type"
BUNDLE_PREDICATE = "dev.sigstore.bundle.predicateType"
SIGNER = "dev.tiffin.signer"  # the key that signed, as the bundle names it
ATTESTATION_MANIFEST = "attestation-manifest"
UNKNOWN = Platform(os="unknown", architecture="unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document to attach: its bytes, their media type, and what its descriptor says of it."""

    data: bytes
    media_type: str
    annotations: Mapping[str, str]

    @property
    def descriptor(self) -> Descriptor:
        return _descriptor(self.data, self.media_type, self.annotations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A manifest with its blobs; `row` is how an index lists it."""

    subject: Digest
    manifest: bytes
    row: Descriptor
    blobs: tuple[tuple[Descriptor, bytes], ...]

    @property
    def listed(self) -> Descriptor:
        """Return the row of an index that has artifacts of several images."""
        return replace(self.row, annotations={**self.row.annotations, REFERENCE_DIGEST: str(self.subject)})

    @classmethod
    def read(cls, row: Descriptor, read: Callable[[Digest, int], bytes]) -> Artifact:
        """Return the artifact that a row of an index names; raises ImageError, StoreError."""
        data = read(row.digest, MAX_DOCUMENT_BYTES)
        return cls.of(row, data, lambda blob: read(blob.digest, MAX_ATTESTATION_BYTES))

    @classmethod
    def of(cls, row: Descriptor, data: bytes, read: Callable[[Descriptor], bytes]) -> Artifact:
        """Return the artifact with the manifest `data`; raises ImageError, StoreError, RegistryError."""
        manifest, subject = Manifest.decode(data), subject_of(data)
        if subject is None:
            raise ImageError(f"{row.digest} refers to nothing", remedy="the layout is damaged: copy it again")
        blobs = {item.digest: item for item in (manifest.config, *manifest.layers)}
        annotations = {name: text for name, text in row.annotations.items() if name != REFERENCE_DIGEST}
        return cls(
            subject=subject,
            manifest=data,
            row=replace(row, annotations=annotations),
            blobs=tuple((item, read(item)) for item in blobs.values()),
        )


def kind_of(row: Descriptor) -> tuple[str, ...]:
    """Return what stands for an artifact while its image is made again: subject, type, predicate, and who signed."""
    names = (REFERENCE_DIGEST, PREDICATE_ANNOTATION, BUNDLE_PREDICATE, SIGNER)
    return (row.artifact_type, *(row.annotations.get(name, "") for name in names))


def subject_of(manifest: bytes) -> Digest | None:
    """Return what a manifest refers to, None for nothing."""
    fields = Fields.decode(manifest, "manifest")
    return Digest.parse(fields.child("subject").text("digest")) if fields.has("subject") else None


def is_small(manifest: bytes) -> bool:
    """Whether an artifact has the size of documents, not of images."""
    decoded = Manifest.decode(manifest)
    return sum(item.size_bytes for item in (decoded.config, *decoded.layers)) <= MAX_ATTESTATION_BYTES


def in_toto(statement: bytes, predicate_type: str) -> Document:
    """Return a statement as a document."""
    return Document(data=statement, media_type=IN_TOTO, annotations={PREDICATE_ANNOTATION: predicate_type})


def referrer(subject: Descriptor, document: Document) -> Artifact:
    """Return an artifact that refers to `subject`; its type is that of the document."""
    config = _descriptor(EMPTY, EMPTY_TYPE, {})
    plain = Descriptor(media_type=subject.media_type, digest=subject.digest, size_bytes=subject.size_bytes)
    manifest = canonical(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": document.media_type,
            "config": config.to_json(),
            "layers": [document.descriptor.to_json()],
            "subject": plain.to_json(),
            "annotations": dict(document.annotations),
        }
    )
    row = Descriptor(
        media_type=OCI_MANIFEST,
        digest=Digest.of(manifest),
        size_bytes=len(manifest),
        annotations=document.annotations,
        artifact_type=document.media_type,
    )
    blobs = ((config, EMPTY), (document.descriptor, document.data))
    return Artifact(subject=subject.digest, manifest=manifest, row=row, blobs=blobs)


def attestation_manifest(subject: Descriptor, documents: Sequence[Document]) -> Artifact:
    """Return BuildKit's manifest of attestations, which stands in an index as an image for no platform."""
    diff_ids = [str(document.descriptor.digest) for document in documents]
    rootfs = {"type": "layers", "diff_ids": diff_ids}
    data = canonical({**UNKNOWN.to_json(), "config": {}, "rootfs": rootfs})
    config = _descriptor(data, OCI_CONFIG, {})
    manifest = canonical(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config.to_json(),
            "layers": [document.descriptor.to_json() for document in documents],
        }
    )
    row = Descriptor(
        media_type=OCI_MANIFEST,
        digest=Digest.of(manifest),
        size_bytes=len(manifest),
        platform=UNKNOWN,
        annotations={REFERENCE_DIGEST: str(subject.digest), REFERENCE_TYPE: ATTESTATION_MANIFEST},
    )
    blobs = ((config, data), *((document.descriptor, document.data) for document in documents))
    return Artifact(subject=subject.digest, manifest=manifest, row=row, blobs=blobs)


def _descriptor(data: bytes, media_type: str, annotations: Mapping[str, str]) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(data), size_bytes=len(data), annotations=annotations)
