"""Artifacts of images in the local store: rows of its list, as OCI layouts have them."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.image.attached.artifact import Artifact, kind_of
from tiffin.builder.image.store import ImageStore, StoredImage
from tiffin.builder.oci.spec import REFERENCE_DIGEST, Descriptor
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.store.blobs import BlobStore


def put_attestations(store: ImageStore, blobs: BlobStore, artifact: Artifact) -> StoredImage:
    """Keep the manifest of attestations of an index, which has the form of an image."""
    for _, data in artifact.blobs:
        blobs.put(data)
    return store.put(artifact.manifest, artifact.blobs[0][1], ())


def attach(store: ImageStore, blobs: BlobStore, artifacts: Sequence[Artifact]) -> None:
    """Keep artifacts of images that are here; one takes the place of another of its kind."""
    rows = _put(blobs, artifacts)
    kinds = {kind_of(row) for row in rows}
    if rows:
        store.put_artifact_rows(lambda known: [row for row in known if kind_of(row) not in kinds] + rows)


def attach_more(store: ImageStore, blobs: BlobStore, artifacts: Sequence[Artifact]) -> None:
    """Keep artifacts beside those that there are."""
    rows = _put(blobs, artifacts)
    digests = {row.digest for row in rows}
    if rows:
        store.put_artifact_rows(lambda known: [row for row in known if row.digest not in digests] + rows)


def _put(blobs: BlobStore, artifacts: Sequence[Artifact]) -> list[Descriptor]:
    for artifact in artifacts:
        for data in (*(data for _, data in artifact.blobs), artifact.manifest):
            blobs.put(data)
    return [artifact.listed for artifact in artifacts]


def attached(store: ImageStore, blobs: BlobStore, *subjects: Digest) -> tuple[Artifact, ...]:
    """Return the artifacts of these images."""
    names = {str(subject) for subject in subjects}
    rows = (row for row in store.artifact_rows() if row.annotations.get(REFERENCE_DIGEST) in names)
    return tuple(Artifact.read(row, blobs.read) for row in rows)


def artifact_digests(store: ImageStore, blobs: BlobStore) -> frozenset[Digest]:
    """Return the blobs that hold artifacts."""
    found = [Artifact.read(row, blobs.read) for row in store.artifact_rows()]
    return frozenset(digest for item in found for digest in (item.row.digest, *(blob.digest for blob, _ in item.blobs)))
