"""Move images: from and to registries, from and to archives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from tiffin.builder.api.session import Session
from tiffin.builder.containers.lifecycle.events import record_of_image
from tiffin.builder.errors import ImageNotFoundError, UsageError
from tiffin.builder.events import Sink, WarningMessage
from tiffin.builder.image.archive import Loader
from tiffin.builder.image.archive_write import Saved, output_file
from tiffin.builder.image.archive_write import save as write_archive
from tiffin.builder.image.store import ImageStore as ImageStore
from tiffin.builder.image.store import StoredImage as StoredImage
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """An image that was pulled or pushed: its name there, and what the registry calls it by."""

    reference: Reference
    digest: Digest


def pull(name: str, session: Session, sink: Sink, registry: RegistryAccess, platform: Platform | None = None) -> Moved:
    """Download an image with all its layers; `platform` None is this machine's.

    Raises ImageError, RegistryError, StoreError.
    """
    wanted = platform or Platform.local()
    remote = session.remote(sink, registry)
    reference = Reference.parse(remote.alias(name))
    pulled = remote.pull(reference, wanted)
    actual = pulled.config.platform
    if platform and (actual.os, actual.architecture) != (wanted.os, wanted.architecture):
        sink.emit(WarningMessage(message=f"{reference} is for {actual}, not for {wanted}"))
    record_of_image(session.state, "pull", reference.familiar, reference.name)
    return Moved(reference=reference, digest=remote.reported_digest(reference, wanted, pulled))


def push(name: str, destination: str, session: Session, sink: Sink, registry: RegistryAccess) -> Moved:
    """Upload the image or index `name`, as `destination` ("" for its own name). Raises ImageError, RegistryError."""
    found = session.store.find(name)
    reference = Reference.parse(destination or name)
    several = session.store.index_of(name)
    remote = session.remote(sink, registry)
    digest = remote.push_index(several[1], several[0], reference) if several else remote.push(found, reference)
    record_of_image(session.state, "push", reference.familiar, reference.name)
    return Moved(reference=reference, digest=digest)


def tags_of(text: str, session: Session) -> tuple[str, ...]:
    """Return all names that images here have in a repository. Raises ImageError, UsageError for a tag."""
    wanted = Reference.parse(text)
    if wanted.digest is not None or ":" in text.rpartition("/")[2]:
        raise UsageError("tag can't be used with --all-tags/-a", remedy="name the repository alone")
    names = [name for image in session.store.manifests() for name in image.names if name.name == wanted.name]
    if not names:
        raise ImageNotFoundError(f"no image here has a name in {wanted.name}", remedy="see tiffin images")
    return tuple(dict.fromkeys(str(name) for name in names))


def load(source: Path | None, stdin: BinaryIO, session: Session) -> Iterator[StoredImage]:
    """Take the images of an archive or a layout directory, None for an archive on `stdin`.

    Raises ImageError, StoreError.
    """
    for image in Loader(session.state, session.blobs, session.store).load(source, stdin):
        for name in image.names:
            record_of_image(session.state, "load", str(image.id), name.familiar)
        yield image


def save(names: Sequence[str], output: str, stdout: BinaryIO, session: Session) -> None:
    """Write images to one archive, "-" for `stdout`: an OCI layout that docker load reads too.

    Raises ImageError, StoreError.
    """
    chosen = []
    for text in names:
        image = session.store.find(text)
        chosen.append(
            Saved(
                manifest=session.blobs.read(image.descriptor.digest, image.descriptor.size_bytes),
                config=session.blobs.read(image.id, image.manifest.config.size_bytes),
                names=image.names,
            )
        )
    with output_file(output, stdout) as sink:
        write_archive(chosen, session.blobs, sink)
    for text in names:
        record_of_image(session.state, "save", str(session.store.find(text).id), text)
