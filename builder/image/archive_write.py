"""Images written as one file or directory: OCI layouts; an archive of one has a manifest.json too, for docker load."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from tiffin.builder.errors import CorruptError
from tiffin.builder.layer.byte_streams import ByteWriter
from tiffin.builder.layer.disk.copyfile import copy_content
from tiffin.builder.layer.index import Entry, new_entry
from tiffin.builder.layer.tar.writer import END_OF_ARCHIVE, header, padding
from tiffin.builder.oci.json_fields import canonical
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import ANNOTATION_CONTAINERD_NAME, ANNOTATION_REF_NAME, Descriptor, Index, Manifest
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES, Digest, VerifyingReader
from tiffin.cache.foundation.files import disk_errors, write_atomically
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING
from tiffin.cache.store.blobs import BlobStore

if TYPE_CHECKING:
    from tiffin.builder.image.attached.artifact import Artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """An image to save, and the names it has in the archive."""

    manifest: bytes
    config: bytes
    names: tuple[Reference, ...]


def save(
    images: Sequence[Saved],
    blobs: BlobStore,
    sink: ByteWriter,
    *,
    index: tuple[Index, Sequence[Reference]] | None = None,
    artifacts: Sequence[Artifact] = (),
) -> None:
    """Write an archive; the same bytes for the same images. Raises StoreError for a layer that is not here.

    `index` makes it an archive of one image for several platforms, under these names; `artifacts` refer to the images.
    """
    _write(_Archive(sink), images, blobs, index, artifacts)


def save_directory(
    images: Sequence[Saved],
    blobs: BlobStore,
    path: Path,
    *,
    index: tuple[Index, Sequence[Reference]] | None = None,
    artifacts: Sequence[Artifact] = (),
) -> None:
    """Write an OCI image layout at `path`, into what is there."""
    with disk_errors(path):
        _write(_Directory(path), images, blobs, index, artifacts)


def _write(
    writer: _Writer,
    images: Sequence[Saved],
    blobs: BlobStore,
    index: tuple[Index, Sequence[Reference]] | None,
    artifacts: Sequence[Artifact],
) -> None:
    manifests: list[Descriptor] = []
    docker: list[dict[str, object]] = []
    written: set[Digest] = set()
    writer.directory("blobs")
    writer.directory("blobs/sha256")
    for image in images:
        manifest = Manifest.decode(image.manifest)
        for layer in manifest.layers:
            if layer.digest not in written:
                written.add(layer.digest)
                writer.blob(layer.digest, blobs.path(layer.digest), layer.size_bytes)
        for data in (image.config, image.manifest):
            if Digest.of(data) not in written:
                written.add(Digest.of(data))
                writer.file(f"blobs/sha256/{Digest.of(data).hex}", data)
        plain = Descriptor(
            media_type=manifest.media_type, digest=Digest.of(image.manifest), size_bytes=len(image.manifest)
        )
        manifests += [_named(plain, name) for name in image.names] or [plain]
        docker.append(
            {
                "Config": f"blobs/sha256/{manifest.config.digest.hex}",
                "RepoTags": [name.familiar for name in image.names if name.tag],
                "Layers": [f"blobs/sha256/{layer.digest.hex}" for layer in manifest.layers],
            }
        )
    if index is not None:
        data = index[0].encode()
        writer.file(f"blobs/sha256/{Digest.of(data).hex}", data)
        plain = Descriptor(media_type=index[0].media_type, digest=Digest.of(data), size_bytes=len(data))
        manifests = [_named(plain, name) for name in index[1]] or [plain]
    manifests += _write_artifacts(writer, artifacts, written)
    writer.file("index.json", Index(manifests=tuple(manifests)).encode())
    if isinstance(writer, _Archive) and index is None:  # for docker load, which before version 25 reads nothing else
        writer.file("manifest.json", json.dumps(docker, sort_keys=True, separators=(",", ":")).encode())
    writer.file("oci-layout", canonical({"imageLayoutVersion": "1.0.0"}))
    writer.end()


def _write_artifacts(writer: _Writer, artifacts: Sequence[Artifact], written: set[Digest]) -> list[Descriptor]:
    """Write artifacts; return their rows, for tools that read a layout's index (image-spec image-layout.md)."""
    for artifact in artifacts:
        for descriptor, data in (*artifact.blobs, (artifact.row, artifact.manifest)):
            if descriptor.digest not in written:
                written.add(descriptor.digest)
                writer.file(f"blobs/sha256/{descriptor.digest.hex}", data)
    return [artifact.listed for artifact in artifacts]


@contextlib.contextmanager
def output_file(dest: str, stdout: BinaryIO) -> Iterator[ByteWriter]:
    """Yield a file that appears whole at `dest`, or stdout for `-`."""
    if dest == "-":
        yield stdout
        stdout.flush()
        return
    path = Path(dest)
    temporary = path.with_name(f".{path.name}.part")
    with disk_errors(path):
        try:
            with temporary.open("wb") as stream:
                yield stream
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


class _Writer(Protocol):
    """Takes the files of a layout."""

    def directory(self, path: str) -> None: ...

    def file(self, path: str, data: bytes) -> None: ...

    def blob(self, digest: Digest, host_path: Path, size: int) -> None: ...

    def end(self) -> None: ...


class _Directory:
    """A directory; blobs first, so that the index never names what is not there."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def directory(self, path: str) -> None:
        (self._root / path).mkdir(parents=True, exist_ok=True)

    def file(self, path: str, data: bytes) -> None:
        write_atomically(self._root / path, data)
        (self._root / path).chmod(0o644)

    def blob(self, digest: Digest, host_path: Path, size: int) -> None:
        target = self._root / "blobs" / digest.algorithm / digest.hex
        if target.exists():
            return
        temporary = target.with_name(f".{target.name}.part")
        with host_path.open("rb", buffering=0) as source, temporary.open("wb", buffering=0) as sink:
            copied = copy_content(source, sink.fileno(), size)
        if copied != size:
            temporary.unlink()
            raise CorruptError(f"blob {digest} has another size than its manifest says", remedy="build it again")
        temporary.replace(target)

    def end(self) -> None:
        """Do nothing: a directory needs no end."""


class _Archive:
    """A tar with nothing of this machine in it."""

    def __init__(self, sink: ByteWriter) -> None:
        self._sink = sink

    def directory(self, path: str) -> None:
        self._sink.write(header(new_entry(path, "dir", 0o755), f"{path}/"))

    def file(self, path: str, data: bytes) -> None:
        self._sink.write(header(self._entry(path, len(data)), path) + data + padding(len(data)))

    def blob(self, digest: Digest, host_path: Path, size: int) -> None:
        path = f"blobs/{digest.algorithm}/{digest.hex}"
        self._sink.write(header(self._entry(path, size), path))
        with host_path.open("rb", buffering=0) as stream:
            reader = VerifyingReader(cast(BinaryIO, stream), digest, size)
            while data := reader.read(COPY_CHUNK_BYTES):
                self._sink.write(data)
        self._sink.write(padding(size))

    def end(self) -> None:
        self._sink.write(END_OF_ARCHIVE)

    def _entry(self, path: str, size: int) -> Entry:
        return new_entry(path, "file", 0o644)._replace(size=size)


def _named(plain: Descriptor, name: Reference) -> Descriptor:
    return Descriptor(
        media_type=plain.media_type,
        digest=plain.digest,
        size_bytes=plain.size_bytes,
        annotations={ANNOTATION_CONTAINERD_NAME: str(name), ANNOTATION_REF_NAME: name.tag or name.familiar},
    )
