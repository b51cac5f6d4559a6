"""Move images: from and to registries, from and to archives."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
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
from tiffin.builder.oci.spec import DOCKER_MANIFEST, Platform
from tiffin.builder.settings.access import RegistryAccess, may_have_rules
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.image.attached.artifact import Artifact
    from tiffin.builder.image.remote import Remote
    from tiffin.builder.oci.spec import Index


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """An image that was pulled or pushed: its name there, and what the registry calls it by."""

    reference: Reference
    digest: Digest


def pull(
    name: str,
    session: Session,
    sink: Sink,
    registry: RegistryAccess,
    platform: Platform | None = None,
    *,
    with_attestations: bool = False,
) -> Moved:
    """Download an image with all its layers; `platform` None is this machine's.

    Raises ImageError, RegistryError, StoreError.
    """
    wanted = platform or Platform.local()
    remote = session.remote(sink, registry)
    reference = Reference.parse(remote.alias(name))
    gate = None
    if may_have_rules(os.environ, registry):
        from tiffin.builder.api.rules.images import PULL, judge_elsewhere

        gate = judge_elsewhere(name, reference, wanted, remote, registry, PULL, session)
    pulled = remote.pull(reference, wanted)
    actual = pulled.config.platform
    if platform and (actual.os, actual.architecture) != (wanted.os, wanted.architecture):
        sink.emit(WarningMessage(message=f"{reference} is for {actual}, not for {wanted}"))
    if with_attestations:
        from tiffin.builder.image.attached.elsewhere import fetch_attached
        from tiffin.builder.image.attached.kept import attach_more

        found = fetch_attached(remote, reference, pulled.descriptor.digest, os.environ)
        attach_more(session.store, session.blobs, found)
    record_of_image(session.state, "pull", reference.familiar, reference.name)
    if gate is not None:
        gate.record("pull", {"name": str(reference), "digest": str(pulled.descriptor.digest)})
    return Moved(reference=reference, digest=remote.reported_digest(reference, wanted, pulled))


def push(name: str, destination: str, session: Session, sink: Sink, registry: RegistryAccess) -> Moved:
    """Upload the image or index `name`, as `destination` ("" for its own name). Raises ImageError, RegistryError."""
    found = session.store.find(name)
    reference = Reference.parse(destination or name)
    several = session.store.index_of(name)
    gate = None
    if may_have_rules(os.environ, registry):
        from tiffin.builder.api.rules.images import judge_push

        gate = judge_push(several[1] if several else [found], reference, registry, session)
    remote = session.remote(sink, registry)
    digest = _push(session, remote, reference, found, several)
    record_of_image(session.state, "push", reference.familiar, reference.name)
    if gate is not None:
        gate.record("push", {"name": str(reference), "digest": str(digest)})
    return Moved(reference=reference, digest=digest)


def _push(
    session: Session,
    remote: Remote,
    reference: Reference,
    found: StoredImage,
    several: tuple[Index, tuple[StoredImage, ...]] | None,
) -> Digest:
    """Push an image, or an index with its images, and what refers to it."""
    if several:
        index, members = several
        push_image = partial(remote.push_index, members, index, reference)
        subjects = [Digest.of(index.encode()), *(image.descriptor.digest for image in members)]
    else:
        push_image = partial(remote.push, found, reference)
        subjects = [found.descriptor.digest]
    artifacts = _attached(session, *subjects)
    if not artifacts:
        return push_image()
    from tiffin.builder.image.attached.elsewhere import push_with_attached

    return push_with_attached(push_image, remote, reference, artifacts, os.environ)


def check_types(name: str, session: Session, *, docker: bool) -> None:
    """Raise UsageError where an image here has OCI's media types and Docker's are wanted, or the other way round: a
    push changes no digest.
    """
    several = session.store.index_of(name)
    for image in several[1] if several else (session.store.find(name),):
        if (image.manifest.media_type == DOCKER_MANIFEST) != docker:
            forms = ("oci", "docker")
            raise UsageError(
                f"{name} has {'OCI' if docker else 'Docker'} media types, and a push changes none",
                remedy=f"build it with --format={forms[docker]}, or leave --format out",
            )


def _attached(session: Session, *digests: Digest) -> tuple[Artifact, ...]:
    """Return the attestations and signatures that images here have; most have none."""
    if not session.store.artifact_rows():
        return ()
    from tiffin.builder.image.attached.kept import attached

    return attached(session.store, session.blobs, *digests)


def is_destination(name: str, other: str, session: Session) -> bool:
    """Tell whether `push NAME OTHER` is about one image: podman's push, and not docker's of two names.

    Raises UsageError where both would be meant as well.
    """
    try:
        theirs = session.store.find(other)
    except ImageNotFoundError:
        return True
    if "/" not in name:  # an id, or a name that is pushed nowhere
        return True
    if session.store.find(name).id == theirs.id:
        return False
    raise UsageError(
        f"push {name} {other}: {other} is another image here",
        remedy=f"push each by itself; to give {other} the image of {name}, tiffin tag {name} {other} first",
    )


def tags_of(text: str, session: Session) -> tuple[str, ...]:
    """Return all names that images here have in a repository. Raises ImageError, UsageError for a tag."""
    wanted = _repository(text)
    names = [name for image in session.store.manifests() for name in image.names if name.name == wanted.name]
    if not names:
        raise ImageNotFoundError(f"no image here has a name in {wanted.name}", remedy="see tiffin images")
    return tuple(dict.fromkeys(str(name) for name in names))


def tags_elsewhere(text: str, session: Session, sink: Sink, registry: RegistryAccess) -> tuple[str, ...]:
    """Return all names that images have in a repository of a registry, those of what refers to images apart.

    Raises ImageError, RegistryError, UsageError for a tag.
    """
    remote = session.remote(sink, registry)
    wanted = _repository(remote.alias(text))
    place = remote.sources(wanted)[-1]
    client = remote.client(place.registry)
    tags = [tag for tag in client.tags(place.repository) if not tag.startswith("sha256-")]  # referrers, signatures
    if not tags:
        raise ImageNotFoundError(f"{wanted.name} has no tags", remedy="name another repository")
    return tuple(f"{wanted.name}:{tag}" for tag in tags)


def _repository(text: str) -> Reference:
    wanted = Reference.parse(text)
    if wanted.digest is not None or ":" in text.rpartition("/")[2]:
        raise UsageError("tag can't be used with --all-tags/-a", remedy="name the repository alone")
    return wanted


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
    artifacts = _attached(session, *(Digest.of(image.manifest) for image in chosen))
    with output_file(output, stdout) as sink:
        write_archive(chosen, session.blobs, sink, artifacts=artifacts)
    for text in names:
        record_of_image(session.state, "save", str(session.store.find(text).id), text)
