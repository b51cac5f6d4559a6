"""Make an image of one layer from a tar: a file, stdin, or what is behind a URL."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import BinaryIO, cast

from tiffin.builder.api.session import Session
from tiffin.builder.errors import CorruptError, ImageError
from tiffin.builder.events import NullSink
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.layer.byte_streams import ByteReader
from tiffin.builder.layer.compression.codecs import Compression, compressor, decompressor, sniff
from tiffin.builder.layer.index import LayerIndex
from tiffin.builder.layer.pack import MEDIA_TYPES
from tiffin.builder.layer.unpack import index_layer
from tiffin.builder.oci.config import History, ImageConfig, RunConfig
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.builder.plain_text import rfc3339
from tiffin.builder.plan.changes import changed_config
from tiffin.builder.settings.access import RegistryAccess
from tiffin.builder.solver.results import assemble_manifest
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES, Digest, HashingWriter
from tiffin.cache.foundation.files import disk_errors
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.store.snapshots import BlobRef

STREAM = "-"
SNIFF_BYTES = 6
KEPT_KINDS = ("none", "gzip", "zstd")  # compressions that a layer may have
URL_PREFIXES = ("http://", "https://")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What to import, "-" for stdin, and what the image is to be called and to say."""

    source: str
    name: str = ""
    message: str = ""
    changes: tuple[str, ...] = ()
    platform: str = ""
    registry: RegistryAccess = RegistryAccess()


def import_image(options: ImportOptions, session: Session, stdin: BinaryIO) -> Digest:
    """Make an image of a tar; return its id. Raises UsageError, ImageError, StoreError, RegistryError."""
    names = [Reference.parse(options.name)] if options.name else []
    platform = Platform.parse(options.platform) if options.platform else Platform.local()
    config = changed_config(RunConfig(), options.changes, platform)
    with session.state.scratch("import") as scratch, session.state.lock("prune", shared=True):
        path = _brought(options, scratch / "layer", session, stdin)
        diff_id, blob = _kept(path, options.source, session)
        now = rfc3339(time.time())
        told = options.message or f"Imported from {STREAM if Path(options.source).exists() else options.source}"
        image = ImageConfig(
            platform=platform,
            config=config,
            diff_ids=(diff_id,),
            history=(History(created=now, comment=told),),
            created=now,
        ).encode()
        return session.store.put(assemble_manifest(image, [blob], annotations={}).encode(), image, names).id


def _brought(options: ImportOptions, place: Path, session: Session, stdin: BinaryIO) -> Path:
    """Return a file with what is to be imported, as it came. Raises StoreError, RegistryError."""
    source = options.source
    if source.startswith(URL_PREFIXES):
        from tiffin.builder.registry.download import download
        from tiffin.builder.settings.registries import read_registry_options

        reached = read_registry_options(os.environ, options.registry)
        with disk_errors(place), place.open("xb+") as sink:
            download(
                source,
                cast(BinaryIO, sink),
                trust=reached.trust,
                proxies=reached.proxies,
                private=reached.private_registries,
                user_agent=reached.user_agent,
            )
        return place
    if source != STREAM:
        return Path(source)
    with disk_errors(place), place.open("xb") as sink:
        while data := stdin.read(COPY_CHUNK_BYTES):
            sink.write(data)
    return place


def _kept(path: Path, source: str, session: Session) -> tuple[Digest, BlobRef]:
    """Keep a tar as a layer; compressed as it came where a layer may be. Raises ImageError, StoreError."""
    with disk_errors(path), path.open("rb") as stream:
        kind = sniff(stream.read(SNIFF_BYTES))
    try:
        with path.open("rb") as stream, decompressor(cast(BinaryIO, stream), "auto") as plain:
            hashing = HashingWriter()
            index = index_layer(cast(BinaryIO, _Told(plain, hashing)))
    except (CorruptError, ImageError) as exc:
        raise ImageError(f"{source} is not an archive of a root: {exc.message}", remedy="give a tar") from exc
    if not hashing.size_bytes:
        raise ImageError(f"{source} is empty", remedy="give a tar")
    with path.open("rb") as stream, session.blobs.ingest() as writer:
        if kind in KEPT_KINDS:
            while data := stream.read(COPY_CHUNK_BYTES):
                writer.write(data)
        else:
            kind = "gzip"
            with (
                decompressor(cast(BinaryIO, stream), "auto") as plain,
                compressor(writer, Compression(kind="gzip")) as packed,
            ):
                while data := plain.read(COPY_CHUNK_BYTES):
                    packed.write(data)
        digest, size = writer.commit()
    return _noted(session, hashing.digest, index, BlobRef(media_type=MEDIA_TYPES[kind], digest=digest, size_bytes=size))


class _Told:
    """A stream whose bytes are also written elsewhere."""

    def __init__(self, stream: ByteReader, sink: HashingWriter) -> None:
        self._stream = stream
        self._sink = sink

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self._sink.write(data)
        return data


def _noted(session: Session, diff_id: Digest, index: LayerIndex, blob: BlobRef) -> tuple[Digest, BlobRef]:
    layers: LayerStore = session.layers(lambda: session.remote(NullSink(), RegistryAccess()))
    layers.keep_index(diff_id, index)
    layers.snapshots.add_blob(diff_id, blob)
    return diff_id, blob
