"""Open an image where it is, by its name: in a registry, in the local store, in a layout or an archive."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tiffin.builder.api.session import Session
from tiffin.builder.errors import ImageError
from tiffin.builder.events import Sink
from tiffin.builder.image.archive import FolderMembers, plain_archive
from tiffin.builder.image.attached.elsewhere import signatures_of
from tiffin.builder.image.attached.places import AttachedPlace, LayoutFiles, RegistryPlace, StorePlace
from tiffin.builder.image.layout_place import SCHEME, parse_place
from tiffin.builder.oci.reference import Reference
from tiffin.builder.settings.access import RegistryAccess

ARCHIVE = "oci-archive://"


@contextlib.contextmanager
def opened(text: str, session: Session, sink: Sink, access: RegistryAccess, *, local: bool) -> Iterator[AttachedPlace]:
    """Yield the place of an image: `local`, oci-layout://DIRECTORY[:TAG], oci-archive://FILE[:TAG], else a registry.

    Raises ImageError, RegistryError.
    """
    if text.startswith((SCHEME, ARCHIVE)):
        place = parse_place(SCHEME + text.partition("://")[2])
        path, tag = Path(place.repository), _tag_of(text, place)
        if text.startswith(SCHEME):
            yield LayoutFiles(_folder(path), path, tag, place.digest)
        else:
            with plain_archive(path, session.state) as members:
                yield LayoutFiles(members, path, tag, place.digest)
    elif local:
        yield StorePlace(session.store, session.blobs, text)
    else:
        remote = session.remote(sink, access)
        reference = Reference.parse(remote.alias(text))
        kept = signatures_of(reference, os.environ)
        apart = None if kept.name == reference.name else RegistryPlace(remote.client(kept.registry), kept)
        yield RegistryPlace(remote.client(reference.registry), reference, apart)


def _folder(path: Path) -> FolderMembers:
    members = FolderMembers(path)
    if not members.has("index.json"):
        raise ImageError(f"{path} is not an OCI image layout", remedy="name a directory with index.json")
    return members


def _tag_of(text: str, place: Reference) -> str:
    """Return the tag that was written: without one, the only image is meant."""
    return place.tag if text.partition("@")[0].endswith(f":{place.tag}") else ""
