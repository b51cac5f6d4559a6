"""Records in registries: artifacts whose layers are the files of a record (image-spec manifest.md, `artifactType`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tiffin.builder.api.session import Session
from tiffin.builder.egress.record import BLOBS, INDEX, LOCK
from tiffin.builder.errors import UsageError
from tiffin.builder.events import Sink
from tiffin.builder.image.attached.artifact import EMPTY, EMPTY_TYPE
from tiffin.builder.image.remote import PARALLEL_TRANSFERS
from tiffin.builder.oci.json_fields import Fields, canonical
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import MAX_DOCUMENT_BYTES, OCI_MANIFEST, Descriptor, Manifest
from tiffin.builder.registry.client import RegistryClient
from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES, Digest
from tiffin.cache.foundation.files import disk_errors
from tiffin.cache.foundation.workers import Workers

PREFIX = "docker-image://"
RECORD_TYPE = "application/vnd.tiffin.record.v1"
INDEX_TYPE, LOCK_TYPE, BODY_TYPE = f"{RECORD_TYPE}+json", "application/toml", "application/octet-stream"
ROOT_FILES = {INDEX_TYPE: INDEX, LOCK_TYPE: LOCK}  # the others are bodies, called by their digests


class RecordPlace:
    """A name in a registry that a record has, or is to have. Raises RegistryError, UsageError."""

    def __init__(self, text: str, session: Session, sink: Sink, access: RegistryAccess) -> None:
        remote = session.remote(sink, access)
        self._text = text
        self._reference = Reference.parse(remote.alias(text.removeprefix(PREFIX)))
        self._client: RegistryClient = remote.client(self._reference.registry)

    def check(self) -> None:
        """Ask the registry before anything is built: what a whole build fetched would be lost."""
        if self._reference.digest is not None:
            raise UsageError(f"--record {self._text} is a digest", remedy="name a tag")
        self._client.head_manifest(self._reference.repository, self._reference.tag)

    def push(self, folder: Path) -> Digest:
        """Push a record that is finished; return the digest by which it can be asked for."""
        files = {kind: folder / name for kind, name in ROOT_FILES.items()}
        parts = [_described(path, kind) for kind, path in files.items()]
        parts += [_described(path, BODY_TYPE) for path in sorted((folder / BLOBS).iterdir())]
        config = Descriptor(media_type=EMPTY_TYPE, digest=Digest.of(EMPTY), size_bytes=len(EMPTY))
        manifest = canonical(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "artifactType": RECORD_TYPE,
                "config": config.to_json(),
                "layers": [part.to_json() for part in parts],
            }
        )
        if len(manifest) > MAX_DOCUMENT_BYTES:
            raise UsageError(
                f"--record {self._text}: {len(parts)} files are more than a manifest lists", remedy="name a directory"
            )
        with Workers(PARALLEL_TRANSFERS, "record") as pool:
            pool.each(partial(self._push, folder), parts)
        self._client.push_bytes(self._reference.repository, EMPTY, EMPTY_TYPE)
        return self._client.put_manifest(self._reference.repository, self._reference.tag, manifest, OCI_MANIFEST)

    def fetch(self, folder: Path) -> None:
        """Fetch a record into an empty directory; what arrives is checked by its digest."""
        found = self._client.get_manifest(self._reference.repository, self._reference.selector)
        if Fields.decode(found.data, "manifest").text("artifactType", "") != RECORD_TYPE:
            raise UsageError(f"--replay {self._text} is not a record", remedy="make one with --record")
        (folder / BLOBS).mkdir(parents=True)
        with Workers(PARALLEL_TRANSFERS, "record") as pool:
            pool.each(partial(self._fetch, folder), Manifest.decode(found.data).layers)

    def _push(self, folder: Path, part: Descriptor) -> None:
        path = _path(folder, part)
        self._client.push_blob(self._reference.repository, part, lambda: path.open("rb"))

    def _fetch(self, folder: Path, part: Descriptor) -> None:
        path = _path(folder, part)
        blob = self._client.get_blob(self._reference.repository, part)
        with blob as stream, disk_errors(path), path.open("wb") as target:
            while data := stream.read(COPY_CHUNK_BYTES):
                target.write(data)


@contextlib.contextmanager
def fetched_record(text: str, session: Session, sink: Sink, access: RegistryAccess) -> Iterator[Path]:
    """Yield a directory with a record: the one that is named, or one for as long as the block takes."""
    if not text.startswith(PREFIX):
        yield Path(text)
        return
    with session.state.scratch("record") as folder:
        RecordPlace(text, session, sink, access).fetch(folder)
        yield folder


@contextlib.contextmanager
def new_record(text: str, session: Session, sink: Sink, access: RegistryAccess) -> Iterator[Path]:
    """Yield the directory that a record is written to: the one that is named, or one until it is pushed."""
    if not text.startswith(PREFIX):
        yield Path(text)
        return
    RecordPlace(text, session, sink, access).check()
    with session.state.scratch("record") as folder:
        yield folder


def _described(path: Path, media_type: str) -> Descriptor:
    digest = Digest.parse(f"sha256:{path.name}") if media_type == BODY_TYPE else Digest.of(path.read_bytes())
    return Descriptor(media_type=media_type, digest=digest, size_bytes=path.stat().st_size)


def _path(folder: Path, part: Descriptor) -> Path:
    return folder / ROOT_FILES.get(part.media_type, f"{BLOBS}/{part.digest.hex}")
