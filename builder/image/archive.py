"""Images read from one file or directory: what docker, podman, buildah and skopeo write."""

from __future__ import annotations

import contextlib
import io
import json
import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from tiffin.builder.errors import CorruptError, ImageError
from tiffin.builder.image.store import ImageStore, StoredImage
from tiffin.builder.layer.compression.codecs import decompressor, sniff
from tiffin.builder.layer.index import Entry
from tiffin.builder.layer.tar.reader import read_layer
from tiffin.builder.layer.tar.section_reader import FileSlice
from tiffin.builder.oci.config import ImageConfig
from tiffin.builder.oci.json_fields import Fields
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import (
    ANNOTATION_CONTAINERD_NAME,
    ANNOTATION_REF_NAME,
    INDEX_TYPES,
    MAX_DOCUMENT_BYTES,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    Descriptor,
    Index,
    Manifest,
    Platform,
)
from tiffin.cache.errors import StoreError
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES, Digest
from tiffin.cache.foundation.files import disk_errors
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.statedir import StateDir

MAX_MEMBERS = 100_000
MAX_MEMBER_LINKS = 4
_LAYER_TYPES = {"gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD, "none": OCI_LAYER}


class Loader:
    """Reads archives and layout directories into the local store."""

    def __init__(self, state: StateDir, blobs: BlobStore, store: ImageStore) -> None:
        self._state = state
        self._blobs = blobs
        self._store = store

    def load(self, path: Path | None, stdin: BinaryIO) -> list[StoredImage]:
        """Load a file, a layout directory, or stdin for None; raises ImageError, CorruptError, StoreError."""
        if path is not None and path.is_dir():
            return self._images(FolderMembers(path))
        with plain_archive(path, self._state, stdin) as members:
            return self._images(members)

    def find(self, path: Path, selector: str, platform: Platform) -> StoredImage:
        """Return one image of a layout directory by tag or digest ("" for the only one), brought here without a
        name.
        """
        members = FolderMembers(path)
        if not members.has("index.json"):
            raise ImageError(f"{path} is not an OCI image layout", remedy="name a directory with index.json")
        images = [item for item in Index.decode(members.read("index.json")).manifests if not item.is_artifact]
        found = [
            item
            for item in images
            if not selector
            or selector in (str(item.digest), item.annotations.get(ANNOTATION_REF_NAME, ""))
            or any(name.tag == selector for name in _names_of(item))
        ]
        if not found or (len(found) > 1 and not selector):
            known = ", ".join(item.annotations.get(ANNOTATION_REF_NAME, str(item.digest)) for item in images)
            raise ImageError(f'{path} has no single image "{selector}"', remedy=f"it has {known or 'none'}")
        return self._keep(members, self._pick(members, found[-1], platform), ())

    def _images(self, members: Members) -> list[StoredImage]:
        if members.has("index.json") and members.has("oci-layout"):
            return self._layout(members)
        if members.has("manifest.json"):
            return self._docker(members)
        raise ImageError(
            "the archive has neither index.json nor manifest.json", remedy="give a docker or OCI image archive"
        )

    def _layout(self, members: Members) -> list[StoredImage]:
        rows = Index.decode(members.read("index.json")).manifests
        by_digest: dict[Digest, list[Reference]] = {}
        order: dict[Digest, Descriptor] = {}
        for descriptor in (row for row in rows if not row.is_artifact):
            chosen, names = self._pick(members, descriptor), _names_of(descriptor)
            order[chosen.digest] = chosen
            by_digest.setdefault(chosen.digest, []).extend(names)
        images = [self._keep(members, descriptor, by_digest[digest]) for digest, descriptor in order.items()]
        self._attach(members, [row for row in rows if row.is_artifact])
        return images

    def _attach(self, members: Members, rows: Sequence[Descriptor]) -> None:
        """Keep artifacts of the images."""
        if not rows:
            return
        from tiffin.builder.image.attached.artifact import Artifact
        from tiffin.builder.image.attached.kept import attach

        def read(digest: Digest, size: int) -> bytes:
            return _verified(members, digest)

        attach(self._store, self._blobs, [Artifact.read(row, read) for row in rows])

    def _pick(self, members: Members, descriptor: Descriptor, platform: Platform | None = None) -> Descriptor:
        platform = platform or Platform.local()
        if descriptor.media_type not in INDEX_TYPES:
            return descriptor
        inner = Index.decode(_verified(members, descriptor.digest), descriptor.media_type)
        chosen = inner.select(platform)
        if chosen is None:
            raise ImageError(f"the archive has no image for {platform}", remedy="give one for this platform")
        return chosen

    def _keep(self, members: Members, descriptor: Descriptor, names: Sequence[Reference]) -> StoredImage:
        data = _verified(members, descriptor.digest)
        manifest = Manifest.decode(data, descriptor.media_type)
        config = _verified(members, manifest.config.digest)
        for layer in manifest.layers:
            self._ingest(members, _blob_path(layer.digest), layer.digest, layer.size_bytes)
        return self._store.put(data, config, list(names))

    def _ingest(self, members: Members, path: str, digest: Digest | None, size: int | None) -> tuple[Digest, int]:
        if digest is not None and self._blobs.has(digest):
            return digest, size or 0
        with members.open(path) as source, self._blobs.ingest() as writer:
            while data := source.read(COPY_CHUNK_BYTES):
                writer.write(data)
            return writer.commit(digest, size)

    def _docker(self, members: Members) -> list[StoredImage]:
        """Load the images of manifest.json: a list of {Config, RepoTags, Layers}."""
        try:
            entries = json.loads(members.read("manifest.json"))
        except (ValueError, RecursionError) as exc:
            raise ImageError("manifest.json in the archive is not JSON", remedy="save the image again") from exc
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ImageError("manifest.json in the archive is not a list", remedy="save the image again")
        return [self._docker_image(members, Fields(entry, f"manifest.json[{i}]")) for i, entry in enumerate(entries)]

    def _docker_image(self, members: Members, fields: Fields) -> StoredImage:
        config = members.read(fields.text("Config"))
        names = [Reference.parse(tag) for tag in fields.texts("RepoTags")]
        known = self._store.by_id(Digest.of(config))
        if known is not None:  # it came before, packed as it may be
            return self._store.put_again(known, names)
        diff_ids = ImageConfig.decode(config).diff_ids
        paths = fields.texts("Layers")
        if len(paths) != len(diff_ids):
            raise ImageError(f"{fields.path}: {len(paths)} layers, {len(diff_ids)} diff_ids", remedy="save it again")
        layers = []
        for path, diff_id in zip(paths, diff_ids, strict=True):
            with members.open(path) as source:
                kind = sniff(source.read(6))
            if kind not in _LAYER_TYPES:
                raise ImageError(f"{path} in the archive is compressed by {kind}", remedy="use gzip or zstd")
            digest, size = self._ingest(members, path, diff_id if kind == "none" else None, None)
            size = self._blobs.size(digest) or size
            layers.append(Descriptor(media_type=_LAYER_TYPES[kind], digest=digest, size_bytes=size))
        descriptor = Descriptor(media_type=OCI_CONFIG, digest=Digest.of(config), size_bytes=len(config))
        manifest = Manifest(config=descriptor, layers=tuple(layers)).encode()
        return self._store.put(manifest, config, names)


class Members(Protocol):
    """The files of an archive or folder by path."""

    def has(self, path: str) -> bool: ...

    def read(self, path: str) -> bytes: ...

    def open(self, path: str) -> contextlib.AbstractContextManager[BinaryIO]: ...


class TarMembers:
    """A plain tar, read from where it lies; nothing is extracted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._members: dict[str, Entry] = {}
        with path.open("rb", buffering=0) as stream:
            for item in read_layer(cast(BinaryIO, stream)):
                if isinstance(item, tuple):
                    if len(self._members) == MAX_MEMBERS:
                        raise ImageError(f"it has more than {MAX_MEMBERS} members", remedy="it is not an image")
                    self._members[item[0].path] = item[0]

    def has(self, path: str) -> bool:
        return _within("", path) in self._members

    def read(self, path: str) -> bytes:
        with self.open(path) as stream:
            data = stream.read(MAX_DOCUMENT_BYTES + 1)
        if len(data) > MAX_DOCUMENT_BYTES:
            raise ImageError(f"{path} in the archive is too large", remedy="it is not an image")
        return data

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        member = self._resolve(path)
        if member is None or member.kind != "file" or (member.size and member.offset < 0):
            raise ImageError(f"{path} is missing from the archive", remedy="save the image again")
        fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        with io.BufferedReader(FileSlice(fd, max(member.offset, 0), member.size), COPY_CHUNK_BYTES) as stream:
            yield stream

    def _resolve(self, path: str) -> Entry | None:
        """Follow a link: docker before 25 writes a layer once and links to it. Only links to members count."""
        path = _within("", path)
        for _ in range(MAX_MEMBER_LINKS + 1):
            member = self._members.get(path)
            if member is None or member.kind not in ("symlink", "hardlink"):
                return member
            path = _within(posixpath.dirname(path) if member.kind == "symlink" else "", member.link)
        return None


class FolderMembers:
    def __init__(self, root: Path) -> None:
        self._root = root

    def has(self, path: str) -> bool:
        return (self._root / path).is_file()  # what it leads to counts when it is opened

    def read(self, path: str) -> bytes:
        with self.open(path) as stream:
            return stream.read(MAX_DOCUMENT_BYTES)

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        try:
            target = (self._root / path).resolve(strict=True)
            if not target.is_relative_to(self._root.resolve()):
                raise ImageError(f"{path} leads out of {self._root}", remedy="the layout is hostile, or copy it whole")
            # a fifo would be waited for
            stream = os.fdopen(os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
        except (OSError, RuntimeError, ValueError) as exc:
            raise ImageError(f"{path} is missing from {self._root}", remedy="give a whole OCI layout") from exc
        with stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise ImageError(f"{path} in {self._root} is not a file", remedy="give a whole OCI layout")
            yield stream


@contextlib.contextmanager
def plain_archive(path: Path | None, state: StateDir, stdin: BinaryIO | None = None) -> Iterator[TarMembers]:
    """Yield the members of an archive, None for the one on `stdin`. Raises ImageError, StoreError."""
    with state.scratch("load") as scratch:
        plain = scratch / "archive.tar"
        source = cast(BinaryIO, stdin if path is None else _open(path))
        with disk_errors(plain), decompressor(source, "auto") as stream, plain.open("wb") as sink:
            while data := stream.read(COPY_CHUNK_BYTES):
                sink.write(data)
        if path is not None:
            source.close()
        try:
            members = TarMembers(plain)
        except (CorruptError, ImageError) as exc:
            name = path or "stdin"
            raise ImageError(
                f"{name} is not an image archive: {exc.message}", remedy="give an archive that docker save wrote"
            ) from exc
        yield members


def _within(directory: str, path: str) -> str:
    """Return what a name means in a directory of an archive, as its members are called."""
    return posixpath.normpath(posixpath.join("/", directory, path)).lstrip("/")


def _open(path: Path) -> object:
    try:
        return path.open("rb")
    except OSError as exc:
        raise StoreError(f"cannot read {path}: {exc.strerror}", remedy="name an image archive") from exc


def _blob_path(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _verified(members: Members, digest: Digest) -> bytes:
    data = members.read(_blob_path(digest))
    if Digest.of(data) != digest:
        raise CorruptError(f"{digest} in the archive has other content", remedy="save the image again")
    return data


def _names_of(descriptor: Descriptor) -> list[Reference]:
    """Return containerd's full name; else the ref.name, if it looks like a whole reference."""
    full = descriptor.annotations.get(ANNOTATION_CONTAINERD_NAME)
    if full:
        return [Reference.parse(full)]
    short = descriptor.annotations.get(ANNOTATION_REF_NAME, "")
    if "/" in short or ":" in short:
        with contextlib.suppress(ImageError):
            return [Reference.parse(short)]
    return []
