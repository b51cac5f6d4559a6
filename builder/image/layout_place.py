"""An OCI layout in the place of a registry, `oci-layout://DIRECTORY[:TAG][@DIGEST]`: where indexes are made."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from tiffin.builder.errors import CorruptError, ImageError, NotInRegistryError
from tiffin.builder.oci.json_fields import canonical
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import MAX_DOCUMENT_BYTES, OCI_INDEX, Descriptor, Index
from tiffin.builder.registry.client import FetchedManifest
from tiffin.cache.errors import DigestError
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES, Digest, VerifyingReader
from tiffin.cache.foundation.files import disk_errors, flocked, write_atomically
from tiffin.cache.foundation.frozen import replace

SCHEME = "oci-layout://"
REF_NAME = "org.opencontainers.image.ref.name"
INDEX_FILE, MARKER_FILE, LOCK_FILE = "index.json", "oci-layout", ".tiffin.lock"
_REGISTRY = SCHEME.removesuffix("/")  # so that a name is written as it was read
_TAG = re.compile(r"(.+):([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})")


def parse_place(text: str) -> Reference:
    """Read a name in a registry or in a layout. Raises ImageError."""
    if not text.startswith(SCHEME):
        return Reference.parse(text)
    path, _, digest = text.removeprefix(SCHEME).partition("@")
    tagged = _TAG.fullmatch(path)
    path, tag = (tagged[1], tagged[2]) if tagged else (path, "" if digest else "latest")
    if not path:
        raise ImageError(f'"{text}" names no directory', remedy=f"write {SCHEME}DIRECTORY:TAG")
    try:
        parsed = Digest.parse(digest) if digest else None
    except DigestError as exc:
        raise ImageError(f'invalid name "{text}": "{digest}" is not a digest', remedy="write @sha256:…") from exc
    return Reference(registry=_REGISTRY, repository=path, tag=tag, digest=parsed)


def is_layout(registry: str) -> bool:
    """Whether what stands for a registry in a reference means layouts."""
    return registry == _REGISTRY


class LayoutPlace:
    """Layouts by their directories, as a client has repositories."""

    def get_manifest(self, repository: str, selector: str) -> FetchedManifest:
        """Return a manifest or index by tag or digest. Raises NotInRegistryError, CorruptError."""
        rows = self._index(repository).manifests
        row = next((row for row in rows if selector in (row.annotations.get(REF_NAME), str(row.digest))), None)
        digest = row.digest if row is not None else Digest.parse(selector) if ":" in selector else None
        if digest is None or not self._blob(repository, digest).is_file():
            raise NotInRegistryError(f"{SCHEME}{repository} has no {selector}", remedy="look into its index.json")
        with disk_errors(repository), self._blob(repository, digest).open("rb") as stream:
            data = stream.read(MAX_DOCUMENT_BYTES)
        if Digest.of(data, digest.algorithm) != digest:
            raise CorruptError(f"{SCHEME}{repository} has another {digest} than its name says", remedy="copy it again")
        return FetchedManifest(data=data, media_type=row.media_type if row is not None else "", digest=digest)

    def has_manifest(self, repository: str, digest: Digest) -> bool:
        """Whether it is there, and so all that it names."""
        return self._blob(repository, digest).is_file()

    def put_manifest(self, repository: str, selector: str, data: bytes, media_type: str) -> Digest:
        """Write a manifest or index; under a tag it is listed in the layout's index."""
        digest = Digest.of(data)
        with disk_errors(repository):
            self._blob(repository, digest).parent.mkdir(parents=True, exist_ok=True)
            with flocked(Path(repository, LOCK_FILE), shared=False, blocking=True):
                write_atomically(self._blob(repository, digest), data)
                if ":" not in selector:
                    self._list(repository, selector, media_type, digest, len(data))
        return digest

    def attach(self, repository: str, row: Descriptor, blobs: Sequence[tuple[Descriptor, bytes]]) -> None:
        """Write an artifact with its blobs, and list it in the layout's index."""
        for descriptor, data in blobs:
            self.push_blob(repository, descriptor, partial(io.BytesIO, data))
        with disk_errors(repository), flocked(Path(repository, LOCK_FILE), shared=False, blocking=True):
            index = self._index(repository)
            others = [known for known in index.manifests if known.digest != row.digest]
            write_atomically(Path(repository, INDEX_FILE), replace(index, manifests=(*others, row)).encode())

    def _list(self, repository: str, tag: str, media_type: str, digest: Digest, size: int) -> None:
        listed = Descriptor(media_type=media_type, digest=digest, size_bytes=size, annotations={REF_NAME: tag})
        others = [row for row in self._index(repository).manifests if row.annotations.get(REF_NAME) != tag]
        index = replace(self._index(repository), manifests=(*others, listed))
        write_atomically(Path(repository, MARKER_FILE), canonical({"imageLayoutVersion": "1.0.0"}))
        write_atomically(Path(repository, INDEX_FILE), index.encode())

    @contextlib.contextmanager
    def get_blob(self, repository: str, descriptor: Descriptor) -> Iterator[BinaryIO]:
        """Stream a blob; the last read verifies digest and size."""
        with disk_errors(repository), self._blob(repository, descriptor.digest).open("rb") as stream:
            yield cast(BinaryIO, VerifyingReader(cast(BinaryIO, stream), descriptor.digest, descriptor.size_bytes))

    def push_blob(
        self,
        repository: str,
        descriptor: Descriptor,
        opener: Callable[[], BinaryIO],
        *,
        mount_from: Sequence[str] = (),
    ) -> None:
        """Write a blob that is not there yet."""
        target = self._blob(repository, descriptor.digest)
        if target.exists():
            return
        with disk_errors(repository):
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.part")
            source = opener()
            with temporary.open("wb") as sink:
                while chunk := source.read(COPY_CHUNK_BYTES):
                    sink.write(chunk)
            temporary.replace(target)

    def _index(self, repository: str) -> Index:
        try:
            data = Path(repository, INDEX_FILE).read_bytes()
            json.loads(data)
        except FileNotFoundError:
            return Index(manifests=())
        except ValueError as exc:
            raise CorruptError(f"{repository}/{INDEX_FILE} is damaged", remedy="make the layout again") from exc
        return Index.decode(data, OCI_INDEX)

    def _blob(self, repository: str, digest: Digest) -> Path:
        return Path(repository, "blobs", digest.algorithm, digest.hex)
