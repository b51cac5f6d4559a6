"""Where images are with what belongs to them: a registry, an OCI layout or an archive of one, the local store."""

from __future__ import annotations

from pathlib import Path

from tiffin.builder.errors import ImageNotFoundError, NotInRegistryError, UsageError
from tiffin.builder.image.archive import Members
from tiffin.builder.image.attached.artifact import MAX_ATTESTATION_BYTES, Artifact, subject_of
from tiffin.builder.image.attached.kept import attach_more
from tiffin.builder.image.attached.referrers import fallback_tag, push_artifact, referrers_of
from tiffin.builder.image.layout_place import INDEX_FILE, LayoutPlace
from tiffin.builder.image.store import ImageStore
from tiffin.builder.oci.json_fields import Fields
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import (
    ANNOTATION_REF_NAME,
    MAX_DOCUMENT_BYTES,
    OCI_INDEX,
    OCI_MANIFEST,
    REFERENCE_DIGEST,
    Descriptor,
    Index,
)
from tiffin.builder.registry.client import RegistryClient
from tiffin.cache.errors import CorruptError
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import replace
from tiffin.cache.foundation.typing_shim import Protocol
from tiffin.cache.store.blobs import BlobStore


class AttachedPlace(Protocol):
    """One image where it is. All that is read is checked by its digest."""

    @property
    def name(self) -> str: ...

    @property
    def signatures(self) -> AttachedPlace:
        """Where what is signed about the image is kept: here, or in another repository."""

    def image(self) -> Descriptor: ...

    def manifest(self, selector: str) -> bytes | None: ...

    def blob(self, descriptor: Descriptor) -> bytes: ...

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]: ...

    def attach(self, artifact: Artifact) -> None: ...


class RegistryPlace:
    """An image in a registry; `signatures`: where those are kept, None for beside it."""

    def __init__(self, client: RegistryClient, reference: Reference, signatures: RegistryPlace | None = None) -> None:
        self.client = client
        self.reference = reference
        self._signatures = signatures

    @property
    def signatures(self) -> RegistryPlace:
        return self._signatures or self

    @property
    def name(self) -> str:
        return str(self.reference)

    def image(self) -> Descriptor:
        """Return what the name stands for. Raises RegistryError."""
        found = self.client.get_manifest(self.reference.repository, self.reference.selector)
        return Descriptor(media_type=found.media_type, digest=found.digest, size_bytes=len(found.data))

    def manifest(self, selector: str) -> bytes | None:
        """Return a manifest by tag or digest, None where there is none."""
        try:
            return self.client.get_manifest(self.reference.repository, selector).data
        except NotInRegistryError:
            return None

    def blob(self, descriptor: Descriptor) -> bytes:
        """Return a small blob."""
        _check_size(descriptor)
        with self.client.get_blob(self.reference.repository, descriptor) as stream:
            return stream.read()

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        """Return what refers to a manifest."""
        return referrers_of(self.client, self.reference.repository, subject)

    def attach(self, artifact: Artifact) -> None:
        """Push an artifact."""
        push_artifact(self.client, self.reference.repository, artifact)


class LayoutFiles:
    """An image in a layout or an archive, by the files of that; `path` and `tag` are those of the name."""

    def __init__(self, members: Members, path: Path, tag: str, digest: Digest | None) -> None:
        self._members = members
        self._path = path
        self._tag = tag
        self._digest = digest

    @property
    def signatures(self) -> LayoutFiles:
        return self

    @property
    def name(self) -> str:
        return f"{self._path}:{self._tag}" if self._tag else str(self._path)

    def image(self) -> Descriptor:
        """Return what the name stands for. Raises ImageNotFoundError, CorruptError."""
        rows = [row for row in self._rows() if not row.is_artifact]
        if self._digest is not None:
            found = [row for row in rows if row.digest == self._digest] or self._inside(self._digest)
        elif self._tag:
            found = [row for row in rows if row.annotations.get(ANNOTATION_REF_NAME) == self._tag]
        else:
            tag = ANNOTATION_REF_NAME
            found = [row for row in rows if not row.annotations.get(tag, "").startswith("sha256-")]
        if len({row.digest for row in found}) != 1:
            known = ", ".join(row.annotations.get(ANNOTATION_REF_NAME, str(row.digest)) for row in rows)
            raise ImageNotFoundError(f"{self.name} is not a single image", remedy=f"it has {known or 'none'}")
        self._read(found[0].digest, MAX_DOCUMENT_BYTES)  # a signature is about the digest, and says nothing of the file
        return replace(found[0], annotations={})

    def manifest(self, selector: str) -> bytes | None:
        """Return a manifest by tag or digest, None where there is none."""
        for row in self._rows():
            if selector in (row.annotations.get(ANNOTATION_REF_NAME), str(row.digest)):
                return self._read(row.digest, MAX_DOCUMENT_BYTES)
        digest = Digest.parse(selector) if ":" in selector else None
        if digest is None or not self._members.has(_blob_path(digest)):
            return None
        return self._read(digest, MAX_DOCUMENT_BYTES)

    def blob(self, descriptor: Descriptor) -> bytes:
        """Return a small blob."""
        _check_size(descriptor)
        return self._read(descriptor.digest, descriptor.size_bytes)

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        """Return what refers to a manifest: listed by the layout, or under the tag that stands for such a list."""
        found = {row.digest: row for row in self._rows() if row.artifact_type and self._refers(row, subject)}
        listed = self.manifest(fallback_tag(subject))
        if listed is not None:
            found |= {row.digest: row for row in Index.decode(listed, OCI_INDEX).manifests}
        return tuple(found.values())

    def attach(self, artifact: Artifact) -> None:
        """Write an artifact into a layout. Raises UsageError for an archive."""
        if not self._path.is_dir():
            raise UsageError(f"{self._path} is an archive, which is not changed", remedy="unpack it to a layout first")
        LayoutPlace().attach(str(self._path), artifact.listed, [*artifact.blobs, (artifact.row, artifact.manifest)])

    def _inside(self, digest: Digest) -> list[Descriptor]:
        """Return the image of an index that has this digest; none where the layout does not have it."""
        if not self._members.has(_blob_path(digest)):
            return []
        data = self._read(digest, MAX_DOCUMENT_BYTES)
        kind = Fields.decode(data, "manifest").text("mediaType", OCI_MANIFEST)
        return [Descriptor(media_type=kind, digest=digest, size_bytes=len(data))]

    def _refers(self, row: Descriptor, subject: Digest) -> bool:
        told = row.annotations.get(REFERENCE_DIGEST)
        if told is not None:
            return told == str(subject)
        return subject_of(self._read(row.digest, MAX_DOCUMENT_BYTES)) == subject

    def _rows(self) -> tuple[Descriptor, ...]:
        return Index.decode(self._members.read(INDEX_FILE), OCI_INDEX).manifests

    def _read(self, digest: Digest, limit: int) -> bytes:
        with self._members.open(_blob_path(digest)) as stream:
            data = stream.read(limit + 1)
        if Digest.of(data, digest.algorithm) != digest:
            raise CorruptError(f"{digest} in {self._path} has other content", remedy="copy it again")
        return data


class StorePlace:
    """An image in the local store."""

    def __init__(self, store: ImageStore, blobs: BlobStore, text: str) -> None:
        self._store = store
        self._blobs = blobs
        self._text = text

    @property
    def signatures(self) -> StorePlace:
        return self

    @property
    def name(self) -> str:
        return self._text

    def image(self) -> Descriptor:
        """Return what the name stands for: an index, or a manifest. Raises ImageNotFoundError."""
        found = self._store.find(self._text)
        several = self._store.index_of(self._text)
        if several is None:
            return replace(found.descriptor, annotations={})
        data = several[0].encode()
        return Descriptor(media_type=several[0].media_type, digest=Digest.of(data), size_bytes=len(data))

    def manifest(self, selector: str) -> bytes | None:
        """Return a manifest by digest, None where there is none; there are no tags here."""
        if ":" not in selector or not self._blobs.has(Digest.parse(selector)):
            return None
        return self._blobs.read(Digest.parse(selector), MAX_DOCUMENT_BYTES)

    def blob(self, descriptor: Descriptor) -> bytes:
        """Return a small blob."""
        _check_size(descriptor)
        return self._blobs.read(descriptor.digest, descriptor.size_bytes)

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        """Return what refers to a manifest."""
        rows = self._store.artifact_rows()
        return tuple(row for row in rows if row.annotations.get(REFERENCE_DIGEST) == str(subject))

    def attach(self, artifact: Artifact) -> None:
        """Keep an artifact."""
        attach_more(self._store, self._blobs, [artifact])


def _check_size(descriptor: Descriptor) -> None:
    if descriptor.size_bytes > MAX_ATTESTATION_BYTES:
        raise CorruptError(f"{descriptor.digest} has {descriptor.size_bytes} bytes", remedy="it is not an attestation")


def _blob_path(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"
