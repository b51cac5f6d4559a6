"""The image that a list of software is asked of: one that is here, one of a registry, of an archive or of a layout."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.builder.api.session import Session
from tiffin.builder.errors import ImageError, ImageNotFoundError, UsageError
from tiffin.builder.events import Sink
from tiffin.builder.image.archive import Loader
from tiffin.builder.image.chain import LayerRef
from tiffin.builder.image.layers import LayerStore
from tiffin.builder.image.layout_place import SCHEME, parse_place
from tiffin.builder.image.store import ImageStore, StoredImage
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.builder.options import epoch_seconds
from tiffin.builder.sbom.making import Subject
from tiffin.builder.sbom.origins import Lines
from tiffin.builder.settings.access import RegistryAccess
from tiffin.builder.solver.results import base_chain
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.store.blobs import BlobStore
from tiffin.cache.store.local import Table
from tiffin.cache.store.snapshots import BlobRef, Snapshots
from tiffin.cache.store.statedir import StateDir

if TYPE_CHECKING:
    from tiffin.builder.image.streaming_fetch import FetchObserver

EPOCH = "SOURCE_DATE_EPOCH"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An image that can be read: `scratch` is a directory that goes when it is closed."""

    subject: Subject
    layers: LayerStore
    lines: Lines
    scratch: Path


@contextlib.contextmanager
def open_subject(
    name: str, session: Session, sink: Sink, access: RegistryAccess, platform: Platform | None = None
) -> Iterator[Found]:
    """Open the image `name`: `oci-layout://`, an image here, a path of an archive or a layout, or one of a registry.

    What begins with / or . is a path. Raises ImageError, RegistryError, StoreError.
    """
    with session.state.scratch("sbom") as scratch:
        is_path = name.startswith((SCHEME, "/", "."))
        image = None if is_path else _found_here(name, session, platform)
        if is_path or (image is None and Path(name).exists()):
            yield _from_file(name, session, scratch, platform)
            return
        if image is None:
            remote = session.remote(sink, access)
            image = remote.look_up(Reference.parse(remote.alias(name)), platform or Platform.local())
            if platform is not None and not _is_for(image, platform):
                raise ImageError(
                    f"{name} is for {image.config.platform}, not for {platform}", remedy="leave out --platform"
                )
        layers = session.layers(lambda: session.remote(sink, access))
        unread = [layer for layer in base_chain(image) if layers.snapshots.packages(layer.diff_id) is None]
        reach_trees(unread, session, layers)
        yield Found(subject=_subject(name, image), layers=layers, lines=session.store.notes.lines, scratch=scratch)


def reach_trees(chain: Iterable[LayerRef], session: Session, layers: LayerStore) -> None:
    """Enter the namespace where that lets one of these layers be read from its tree and not from a compressed blob.

    Call it while the process has one thread.
    """
    for layer in chain:
        if layers.plain_blob(layer.diff_id, layer.blob) is None and layers.snapshots.has_tree(layer.diff_id):
            session.enter(layers, None)
            return


def _found_here(name: str, session: Session, platform: Platform | None) -> StoredImage | None:
    """Return an image that is here, and for that platform; None where a registry is to be asked."""
    several = session.store.index_of(name)
    if several is not None and platform is not None:
        for image in several[1]:
            if _is_for(image, platform):
                return image
    try:
        image = session.store.find(name)
    except ImageNotFoundError:
        return None
    if platform is not None and not _is_for(image, platform):
        return None
    return image


def _is_for(image: StoredImage, platform: Platform) -> bool:
    known = image.config.platform
    return (known.os, known.architecture) == (platform.os, platform.architecture) and (
        not platform.variant or known.variant == platform.variant
    )


def _from_file(name: str, session: Session, scratch: Path, platform: Platform | None) -> Found:
    """Bring an image of a file into a state directory of its own, so that nothing of it stays here."""
    state = StateDir.open(scratch / "state")
    blobs = BlobStore(state)
    store = ImageStore(state, blobs, cache(lambda: Table(state, lambda _: None)))
    loader = Loader(state, blobs, store)
    wanted = platform or Platform.local()
    if name.startswith(SCHEME):
        place = parse_place(name)
        image = loader.find(Path(place.repository), str(place.digest or place.tag or ""), wanted)
    else:
        images = loader.load(Path(name), io.BytesIO())
        chosen = [item for item in images if _is_for(item, wanted)] or (images if platform is None else [])
        if len(chosen) != 1:
            known = ", ".join(f"{item.names[0] if item.names else item.id} ({item.config.platform})" for item in images)
            raise ImageError(
                f"{name} has {len(chosen)} images for {wanted}",
                remedy=f"say which one with --platform, or save it alone; it has {known or 'none'}",
            )
        image = chosen[0]

    def lacking(ref: BlobRef, _: FetchObserver | None) -> None:
        raise ImageError(f"{name} lacks {ref.digest}, a layer of its image", remedy="save the image again")

    layers = LayerStore(state, blobs, Snapshots(state), lacking)
    return Found(subject=_subject(name, image), layers=layers, lines=session.store.notes.lines, scratch=scratch)


def _subject(name: str, image: StoredImage) -> Subject:
    text = os.environ.get(EPOCH, "")
    try:
        epoch = epoch_seconds(text)
    except ValueError as exc:
        raise UsageError(f'{EPOCH}: "{text}" is not a valid time', remedy="give whole seconds since 1970") from exc
    return Subject(
        name=_shown(name, image),
        config=image.config,
        image_id=image.id,
        digest=image.descriptor.digest,
        chain=base_chain(image),
        epoch=epoch,
    )


def _shown(name: str, image: StoredImage) -> str:
    """Return the name of the image in documents: no path of this machine."""
    if image.names:
        return image.names[0].familiar
    if name.startswith((SCHEME, "/", ".")) or Path(name).exists():
        return Path(name.removeprefix(SCHEME)).name
    return name
