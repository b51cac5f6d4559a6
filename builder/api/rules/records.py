"""What a record holds beside the requests of steps: base images, files of ADD, the lock; and a build of it alone."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.builder.api.build_options import BuildOptions
from tiffin.builder.api.rules.gathering import gather
from tiffin.builder.api.rules.kept_records import PREFIX, RecordPlace, fetched_record
from tiffin.builder.api.session import Session
from tiffin.builder.egress.record import BLOBS, LOCK, Image, Recording, Replay
from tiffin.builder.errors import UsageError
from tiffin.builder.events import InfoMessage, Sink
from tiffin.builder.image.resolved import Resolved
from tiffin.builder.instructions.ops import GitOrigin, UrlOrigin
from tiffin.builder.lock.lockfile import Lock, write_lock
from tiffin.builder.lock.pins import Gatherer, pinned_image
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Manifest, Platform
from tiffin.builder.plan.plan_options import PREFIX_LAYOUT
from tiffin.builder.sources.remote_sources import pack_key, remember_file
from tiffin.cache.foundation.digest import COPY_CHUNK_BYTES, Digest
from tiffin.cache.foundation.files import disk_errors
from tiffin.cache.foundation.frozen import replace
from tiffin.cache.store.snapshots import BlobRef

if TYPE_CHECKING:
    from tiffin.builder.image.remote import Remote
    from tiffin.builder.plan.plan_options import BaseImage
    from tiffin.builder.solver.build import Request, Services


def finish(
    options: BuildOptions,
    request: Request,
    services: Services,
    session: Session,
    sink: Sink,
    remote: Callable[[], Remote],
) -> None:
    """Write down the sources of a build that is done, close its record, and push it if it is to be in a registry.

    Raises BuildError for a repository that no record holds, RegistryError.
    """
    assert services.way_out is not None and services.way_out.recording is not None
    recording = services.way_out.recording
    platforms = options.platforms or (Platform.local(),)
    gatherer, notes = Gatherer(Lock()), session.store.notes
    found = gather(request, services, options.contexts, notes, gatherer, Lock(), platforms, every_stage=False)
    for (name, platform), image in found.images.items():
        if not name.startswith(PREFIX_LAYOUT):
            _add_image(recording, pinned_image(found.lock, name, platform), name, platform, image, session, remote)
    for origin, source in gatherer.sources.items():
        if isinstance(source, GitOrigin):
            _add_repository(recording, source, services)
            continue
        assert isinstance(origin, UrlOrigin)
        entry = services.contexts.content(origin).children(".")[0]
        _copy(session.blobs.path(Digest.parse(f"sha256:{entry.digest}")), recording.folder / BLOBS / entry.digest)
        recording.add_file(origin.url, entry.digest, entry.mtime_ns)
    write_lock(recording.folder / LOCK, found.lock)
    recording.finish()
    if options.record.startswith(PREFIX):
        digest = RecordPlace(options.record, session, sink, options.registry).push(recording.folder)
        sink.emit(InfoMessage(message=f"the record is {options.record.partition('@')[0]}@{digest}"))


def _add_repository(recording: Recording, source: GitOrigin, services: Services) -> None:
    pack = services.contexts.pack(source)
    with pack.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    _copy(pack, recording.folder / BLOBS / digest)
    recording.add_repository(pack_key(source.url, services.contexts.commit(source)), digest)


def _add_image(
    recording: Recording,
    reference: str,
    name: str,
    platform: Platform,
    image: BaseImage,
    session: Session,
    remote: Callable[[], Remote],
) -> None:
    refs = [BlobRef.of(layer) for layer in image.manifest.layers]
    if any(not session.blobs.has(ref.digest) for ref in refs):
        remote().fetch_all(refs)
    for digest in (image.manifest_digest, image.manifest.config.digest, *(ref.digest for ref in refs)):
        _copy(session.blobs.path(digest), recording.folder / BLOBS / digest.hex)
    manifest = image.manifest_digest.hex
    recording.add_image(Image(name=name, reference=reference, platform=str(platform), manifest=manifest))


def _copy(source: Path, target: Path) -> None:
    if not target.exists():
        with disk_errors(target):
            shutil.copyfile(source, target)


def from_record(options: BuildOptions, session: Session, sink: Sink, stack: contextlib.ExitStack) -> BuildOptions:
    """Bring the sources in a record here, and return a build that has no others; what comes from a registry is there
    until `stack` is closed. Raises UsageError, TiffinError.
    """
    replay = Replay(stack.enter_context(fetched_record(options.replay, session, sink, options.registry)))
    for image in replay.images:
        manifest = _bring(replay, image.manifest, session)
        decoded = Manifest.decode(manifest, "")
        for digest in (decoded.config.digest, *(layer.digest for layer in decoded.layers)):
            _bring(replay, digest.hex, session, reads=False)
        config = session.blobs.read(decoded.config.digest, decoded.config.size_bytes)
        stored = session.store.unlisted(manifest, config)
        known = Resolved(manifest=stored.descriptor.digest, reported=stored.descriptor.digest, asked=time.time())
        reference, platform = Reference.parse(image.reference), Platform.parse(image.platform)
        if reference.digest != stored.descriptor.digest:  # else a record could say what a tag leads to from now on
            raise UsageError(
                f"--replay {options.replay}: {image.reference} is not the digest of its image",
                remedy="make the record again",
            )
        session.store.notes.keep_resolved(reference, platform, known)
    for file in replay.files:
        _bring(replay, file.digest, session, reads=False)
        whole = Digest.parse(f"sha256:{file.digest}")
        size = session.blobs.path(whole).stat().st_size
        remember_file(session.table, file.url, whole, size=size, modified_ns=file.modified_ns)
    folder = replay.folder
    return replace(options, replay=str(folder), locked=True, lock_file=str(folder / LOCK), pull="never")


def _bring(replay: Replay, digest: str, session: Session, *, reads: bool = True) -> bytes:
    """Put a blob of a record into the state directory; return it where it `reads`."""
    whole = Digest.parse(f"sha256:{digest}")
    with replay.open(digest) as stream:
        if not session.blobs.has(whole):
            with session.blobs.ingest() as writer:
                while data := stream.read(COPY_CHUNK_BYTES):
                    writer.write(data)
                writer.commit()
        stream.seek(0)
        return stream.read() if reads else b""
