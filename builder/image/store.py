"""The local images: an OCI image layout (image-spec image-layout.md) that other tools read as it is.

index.json lists what is whole: manifest, configuration and every layer are in blobs/. Base images a build only needed
to look at are kept beside it: manifest and configuration as blobs, what names led to them in the Table
(tiffin.builder.image.resolved).

An image is its configuration, whose digest is its id; with several manifests (packed otherwise) it is still one image.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

from tiffin.builder.errors import ImageError, ImageNotFoundError, StoreError, TiffinError
from tiffin.builder.oci.config import ImageConfig
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import (
    ANNOTATION_CONTAINERD_NAME,
    ANNOTATION_REF_NAME,
    INDEX_TYPES,
    MAX_DOCUMENT_BYTES,
    REFERENCE_DIGEST,
    Descriptor,
    Index,
    Manifest,
    Platform,
)
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.files import write_atomically
from tiffin.cache.foundation.frozen import dataclass, replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.statedir import StateDir

if TYPE_CHECKING:
    from tiffin.builder.image.resolved import RegistryNotes
    from tiffin.cache.store.local import Table

INDEX_LOCK = "images"
_ID = r"(?:sha256:)?([0-9a-f]{4,64})"  # or its beginning


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """An image whose manifest and configuration are here. `config.digest` is the image id."""

    manifest: Manifest
    config: ImageConfig
    descriptor: Descriptor
    names: tuple[Reference, ...] = ()

    @property
    def id(self) -> Digest:
        return self.manifest.config.digest

    @property
    def size_bytes(self) -> int:
        """Of all blobs, as packed."""
        return self.manifest.config.size_bytes + sum(layer.size_bytes for layer in self.manifest.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _List:
    """The list of images as it is on disk; `artifacts`: the rows of what refers to them."""

    data: bytes
    images: Index
    artifacts: tuple[Descriptor, ...]

    @classmethod
    def decode(cls, data: bytes) -> _List:
        rows = Index.decode(data).manifests
        images = Index(manifests=tuple(row for row in rows if not row.is_artifact))
        return cls(data=data, images=images, artifacts=tuple(row for row in rows if row.is_artifact))


class ImageStore:
    """The images of one state directory."""

    def __init__(self, state: StateDir, blobs: BlobStore, table: Callable[[], Table]) -> None:
        self._state = state
        self._blobs = blobs
        self._table = table
        self._ids: dict[Digest, Digest] = {}  # of images, by the digests of their rows
        self._known: _List | None = None  # the list as it was read or written last, and what it says

    @cached_property
    def notes(self) -> RegistryNotes:
        """Return what is known of images in registries."""
        from tiffin.builder.image.resolved import RegistryNotes

        return RegistryNotes(self._table)

    # -- reading -------------------------------------------------------------------------------------------------------

    def images(self) -> tuple[StoredImage, ...]:
        """Return all whole images, newest first, each once with all its names; none that an index holds besides."""
        found: dict[Digest, StoredImage] = {}
        members = {item.digest for row in self._rows(INDEX_TYPES) for item in self._read_index(row).manifests}
        for image in self.manifests():
            if image.names or image.descriptor.digest not in members:
                known = found.get(image.id)
                found[image.id] = image if known is None else replace(known, names=(*known.names, *image.names))
        return tuple(sorted(found.values(), key=lambda image: image.config.created, reverse=True))

    def manifests(self) -> Iterator[StoredImage]:
        """Yield all whole images, as often as they have manifests, each with its names."""
        found: dict[Digest, StoredImage] = {}
        for named in self._index().manifests:
            descriptor = self._for_here(named)
            if descriptor is None:
                continue
            image = found.get(descriptor.digest) or self.load(descriptor)
            name = _name_of(named)
            names = (*image.names, Reference.parse(name)) if name else image.names
            found[descriptor.digest] = replace(image, names=names)
        yield from found.values()

    def find(self, text: str) -> StoredImage:
        """Find an image by name, name@digest, or (abbreviated) id, in Docker's order; raises ImageNotFoundError."""
        reference = Reference.parse(text)
        image = self.get(reference)  # reads that image alone, however many there are
        if image is None and (match := re.fullmatch(_ID, text)):
            hits = {
                item.id: item
                for item in self.manifests()
                if item.id.hex.startswith(match[1]) or item.descriptor.digest.hex.startswith(match[1])
            }
            if len(hits) > 1:
                raise ImageError(f'"{text}" is the beginning of several image ids', remedy="write more of it")
            image = next(iter(hits.values()), None)
        if image is None:
            raise ImageNotFoundError(f"No such image: {reference.familiar}", remedy="see tiffin images, or pull it")
        return image

    def by_id(self, image_id: Digest) -> StoredImage | None:
        """Return the image of that id with all its layers, or None."""
        for image in self.manifests():
            if image.id == image_id and all(self._blobs.has(layer.digest) for layer in image.manifest.layers):
                return image
        return None

    def whole(self, image: StoredImage) -> StoredImage:
        """Return the image with all its names."""
        names = [name for other in self.manifests() if other.id == image.id for name in other.names]
        return replace(image, names=tuple(names))

    def get(self, reference: Reference) -> StoredImage | None:
        """Return the whole image of that name, or None. With a digest the tag does not count."""
        if reference.digest is not None:
            return self._by_digest(reference.name, reference.digest)
        image = self._named(reference)
        short = reference.without_localhost if image is None else None
        if short is not None and (made := self._named(short)) and not self.notes.is_in(short.name, made.id):
            return made
        return image

    def _named(self, reference: Reference) -> StoredImage | None:
        for descriptor in self._index().manifests:
            if _name_of(descriptor) == str(reference):
                image = self._load_for_here(descriptor)
                return replace(image, names=(reference,)) if image else None
        return None

    def _by_digest(self, repository: str, digest: Digest) -> StoredImage | None:
        """Return the image that has the digest, or is in the repository under it."""
        rows = self._index().manifests
        for row in rows:
            name = _name_of(row)
            if name == f"{repository}@{digest}" or (row.digest == digest and name.startswith(f"{repository}:")):
                return self._load_for_here(row)
        for row in rows:
            if _name_of(row).startswith(f"{repository}:"):
                image = self._load_for_here(row)
                if image and f"{repository}@{digest}" in self.notes.repo_digests(image.id):
                    return image
        return None

    def index_of(self, text: str) -> tuple[Index, tuple[StoredImage, ...]] | None:
        """Return the index the name `text` stands for and all its images; None where it is of one image, or of none."""
        if re.fullmatch(_ID, text):
            return None
        name = str(Reference.parse(text))
        for descriptor in self._rows(INDEX_TYPES):
            if _name_of(descriptor) == name:
                index = self._read_index(descriptor)
                return index, tuple(self.load(replace(item, platform=None)) for item in index.manifests)
        return None

    def index_digests(self) -> frozenset[Digest]:
        """Return the blobs that hold indexes."""
        return frozenset(item.digest for item in self._rows(INDEX_TYPES))

    def _rows(self, media_types: Sequence[str]) -> list[Descriptor]:
        return [row for row in self._index().manifests if row.media_type in media_types]

    def _load_for_here(self, descriptor: Descriptor) -> StoredImage | None:
        chosen = self._for_here(descriptor)
        return self.load(chosen) if chosen else None

    def _for_here(self, descriptor: Descriptor) -> Descriptor | None:
        """Return the manifest behind a row of the index: of several platforms this machine's, else the first."""
        if descriptor.media_type not in INDEX_TYPES:
            return descriptor
        index = self._read_index(descriptor)
        chosen = index.select(Platform.local()) or next(iter(index.manifests), None)
        if chosen is None:
            return None
        return replace(chosen, platform=None, annotations=descriptor.annotations)

    def _read_index(self, descriptor: Descriptor) -> Index:
        return Index.decode(self._blobs.read(descriptor.digest, MAX_DOCUMENT_BYTES), descriptor.media_type)

    def resolved(self, reference: Reference, platform: Platform) -> StoredImage | None:
        """Return a base image looked at before, or None; its layers may be elsewhere."""
        found = self.notes.resolved(reference, platform)
        size = self._blobs.size(found.manifest) if found is not None else None
        if found is None or size is None:
            return None
        manifest = Manifest.decode(self._blobs.read(found.manifest, MAX_DOCUMENT_BYTES))
        if not self._blobs.has(manifest.config.digest):
            return None
        return self.load(Descriptor(media_type=manifest.media_type, digest=found.manifest, size_bytes=size))

    def resolved_images(self) -> list[StoredImage]:
        """Return every base image looked at before that is still here."""
        found = [self.resolved(reference, platform) for reference, platform in self.notes.all_resolved()]
        return [image for image in found if image is not None]

    def load(self, descriptor: Descriptor) -> StoredImage:
        """Read manifest and configuration from the blobs; raises StoreError, ImageError."""
        manifest = Manifest.decode(self._blobs.read(descriptor.digest, MAX_DOCUMENT_BYTES), descriptor.media_type)
        config = ImageConfig.decode(self._blobs.read(manifest.config.digest, MAX_DOCUMENT_BYTES))
        if len(config.diff_ids) != len(manifest.layers):
            raise ImageError(
                f"image {descriptor.digest} has {len(manifest.layers)} layers but {len(config.diff_ids)} diff_ids",
                remedy="the image is damaged; get it again",
            )
        return StoredImage(manifest=manifest, config=config, descriptor=descriptor)

    # -- writing -------------------------------------------------------------------------------------------------------

    def put(self, manifest: bytes, config: bytes, names: Sequence[Reference]) -> StoredImage:
        """Keep a whole image under `names` (none: under its id only). Its layers are in the blobs already."""
        self._blobs.put(config)
        digest = self._blobs.put(manifest)
        parsed = Manifest.decode(manifest)
        missing = [layer.digest for layer in parsed.layers if not self._blobs.has(layer.digest)]
        assert not missing, missing
        plain = Descriptor(media_type=parsed.media_type, digest=digest, size_bytes=len(manifest))
        self._name(plain, names)
        return replace(self.load(plain), names=tuple(names))

    def put_again(self, image: StoredImage, names: Sequence[Reference]) -> StoredImage:
        """Keep an image that is here under `names` too."""
        self._name(image.descriptor, names)
        return replace(image, names=tuple(names))

    def unlisted(self, manifest: bytes, config: bytes) -> StoredImage:
        """Return an image that is only pushed: its documents are kept, its layers may be elsewhere."""
        self._blobs.put(config)
        digest = self._blobs.put(manifest)
        media_type = Manifest.decode(manifest).media_type
        return self.load(Descriptor(media_type=media_type, digest=digest, size_bytes=len(manifest)))

    def put_index(self, index: Index, names: Sequence[Reference]) -> None:
        """Keep an index of images that are here under `names`."""
        data = index.encode()
        digest = self._blobs.put(data)
        self._name(Descriptor(media_type=index.media_type, digest=digest, size_bytes=len(data)), names)

    def artifact_rows(self) -> tuple[Descriptor, ...]:
        """Return the rows of artifacts: attestations and signatures of images here (tiffin.builder.image.attached)."""
        return self._list().artifacts

    def put_artifact_rows(self, make: Callable[[tuple[Descriptor, ...]], Sequence[Descriptor]]) -> None:
        """Write the rows that `make` gives for those that are there."""
        with self._state.lock(INDEX_LOCK):
            listed = self._list()
            self._write(listed.images.manifests, make(listed.artifacts))

    def tag(self, image: StoredImage, reference: Reference) -> None:
        """Give an image another name; the name leaves the image that had it."""
        self._name(image.descriptor, [reference])

    def untag(self, reference: Reference) -> None:
        """Take a name away; an image that loses its last one stays under its id."""
        image = self.get(reference)
        with self._state.lock(INDEX_LOCK):
            rows = self._index().manifests
            gone = [row for row in rows if _name_of(row) == str(reference)]
            rest = [row for row in rows if row not in gone]
            if image is not None and not self._has_id(rest, image.id):
                rest.append(replace(image.descriptor, annotations={}))
            self._write(rest)
        if image is not None and all(name.name != reference.name for name in self.whole(image).names):
            self.notes.forget_repo_digests(image.id, reference.name)

    def remove(self, image: StoredImage) -> None:
        """Forget an image and all its names, with an index it is of; blobs go when nothing needs them (prune)."""
        with self._state.lock(INDEX_LOCK):
            rows = self._index().manifests
            gone = {row.digest for row in rows if self._id_of(row) == image.id}
            for row in rows:
                if row.media_type in INDEX_TYPES:
                    members = {item.digest for item in self._read_index(row).manifests}
                    gone |= {row.digest, *members} if gone & members or row.digest in gone else set()
            self._write([row for row in rows if row.digest not in gone])
        self.notes.forget_repo_digests(image.id)

    def _has_id(self, rows: Sequence[Descriptor], image_id: Digest | None) -> bool:
        return image_id is not None and any(self._id_of(row) == image_id for row in rows)

    def _id_of(self, row: Descriptor) -> Digest | None:
        """Return the id of the image that a row stands for here; None where its manifest cannot be read."""
        if row.digest not in self._ids:
            try:
                chosen = self._for_here(row)
                data = self._blobs.read(chosen.digest, MAX_DOCUMENT_BYTES) if chosen else b""
                self._ids[row.digest] = Manifest.decode(data).config.digest
            except TiffinError:
                return None
        return self._ids[row.digest]

    def broken(self, *, forget: bool) -> list[str]:
        """Return names (or digests) of images whose documents are lost or damaged; they go from the list if asked
        to.
        """
        found, rest = [], []
        with self._state.lock(INDEX_LOCK):
            for row in self._index().manifests:
                try:
                    self._load_for_here(row)
                    rest.append(row)
                except TiffinError:
                    found.append(_name_of(row) or str(row.digest))
            if found and forget:
                self._write(rest)
        return found

    def _name(self, descriptor: Descriptor, names: Sequence[Reference]) -> None:
        taken = {str(name) for name in names}
        plain = replace(descriptor, annotations={})
        with self._state.lock(INDEX_LOCK):
            before = self._index().manifests
            own = {_name_of(d) for d in before if d.digest.hex == plain.digest.hex}
            if names and taken <= own and "" not in own:
                return  # it has these names already
            rest = [d for d in before if _name_of(d) not in taken]
            lost = [d for d in before if _name_of(d) in taken and d.digest != plain.digest]
            named = [plain, *rest] if lost else []
            for item in lost:  # an image whose last name moves away is kept under its id, as docker does
                image_id = self._id_of(item)
                if item.digest not in {row.digest for row in named} and not self._has_id(named, image_id):
                    rest.append(replace(item, annotations={}))
            if names:
                rest = [d for d in rest if not (d.digest == plain.digest and not _name_of(d))]
                rest += [replace(plain, annotations=_annotations(name)) for name in names]
            elif not any(d.digest == plain.digest for d in rest):
                rest.append(plain)
            if list(before) != rest:
                self._write(rest)

    def _index(self) -> Index:
        return self._list().images

    def _list(self) -> _List:
        try:
            data = self._state.image_list.read_bytes()
        except FileNotFoundError:
            return _List(data=b"", images=Index(manifests=()), artifacts=())
        if self._known is None or data != self._known.data:
            try:
                self._known = _List.decode(data)
            except ImageError as exc:
                remedy = "restore it; or remove it, which forgets the names of all images"
                raise StoreError(f"{self._state.image_list} is damaged: {exc.message}", remedy=remedy) from exc
        return self._known

    def _write(self, images: Sequence[Descriptor], artifacts: Sequence[Descriptor] | None = None) -> None:
        """Write the list; an artifact (None: those that are listed) goes with its image."""
        rows = list(self._list().artifacts if artifacts is None else artifacts)
        if rows:
            indexes = [row for row in images if row.media_type in INDEX_TYPES]
            members = (item for row in indexes for item in self._read_index(row).manifests)
            there = {str(item.digest) for item in (*images, *members)}
            rows = [row for row in rows if row.annotations.get(REFERENCE_DIGEST) in there]
        data = Index(manifests=(*images, *rows)).encode()
        write_atomically(self._state.image_list, data)
        self._known = _List.decode(data)


def _annotations(name: Reference) -> dict[str, str]:
    return {ANNOTATION_CONTAINERD_NAME: str(name), ANNOTATION_REF_NAME: name.familiar}


def _name_of(descriptor: Descriptor) -> str:
    return descriptor.annotations.get(ANNOTATION_CONTAINERD_NAME, "")
