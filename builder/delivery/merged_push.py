"""One tag that builders of several platforms push at the same time: nothing of any is lost.

Registries have no compare-and-swap for tags. So each platform has a tag of its own, TAG.linux-arm64, which is written
before the index is made of all that are there. Who has written the index looks again, and writes it again if there is
more by then: the last one to write it has looked after all others had written their platform's tag.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence

from tiffin.builder.errors import NotInRegistryError, RegistryError
from tiffin.builder.image.remote_indexes import entries_of, fetch
from tiffin.builder.oci.reference import MAX_TAG_LENGTH, Reference
from tiffin.builder.oci.spec import REFERENCE_DIGEST, Descriptor, Index, Platform
from tiffin.builder.registry.client import RegistryClient
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import replace

# platforms that may be pushed by others for the first time; those that the index has are looked at too
PLATFORMS = tuple(
    Platform.parse(f"linux/{text}")
    for text in (
        "386", "amd64", "amd64/v2", "amd64/v3", "amd64/v4", "arm/v5", "arm/v6", "arm/v7", "arm64", "loong64",
        "mips64le", "ppc64le", "riscv64", "s390x",
    )
)  # fmt: skip
ROUNDS = 20
MAX_PAUSE_SECONDS = 0.3


def tag_of(reference: Reference, platform: Platform) -> Reference:
    """Return the name of a platform's own tag. Raises RegistryError where the tag would be too long."""
    tag = f"{reference.tag}.{str(platform).replace('/', '-')}"
    if len(tag) > MAX_TAG_LENGTH:
        raise RegistryError(f"the tag {tag} would be too long", remedy="choose a shorter tag, or push without merge")
    return replace(reference, tag=tag, digest=None)


def push_merged(
    client: RegistryClient,
    reference: Reference,
    mine: Mapping[Platform, Callable[[Reference], Digest]],
    annotations: Mapping[str, str],
) -> Digest:
    """Push each platform under its own tag, then the index of all under `reference`; return the index's digest.

    `mine` pushes an image under a name. Raises RegistryError.
    """
    for platform, push in mine.items():
        push(tag_of(reference, platform))
    written: Digest | None = None
    for number in range(ROUNDS):
        if number:
            time.sleep(random.uniform(0, MAX_PAUSE_SECONDS))
        index = _index_of(client, reference, annotations)
        digest = Digest.of(index.encode())
        if digest == written and client.head_manifest(reference.repository, reference.tag) == digest:
            return digest
        written = client.put_manifest(reference.repository, reference.tag, index.encode(), index.media_type)
        if Digest.of(_index_of(client, reference, annotations).encode()) == written:
            return written
    raise RegistryError(
        f"{reference} is written by too many builders at once", remedy="run the build again: what arrived stays"
    )


def _index_of(client: RegistryClient, reference: Reference, annotations: Mapping[str, str]) -> Index:
    """Return the index of all that is there now: platforms' own tags, and what else the name has."""
    before = _entries(client, reference)
    known = {entry.platform for entry in before if entry.platform is not None and entry.platform.os != "unknown"}
    found: dict[Platform, Descriptor] = {}
    for platform in sorted({*PLATFORMS, *known}, key=str):
        place = tag_of(reference, platform)
        if client.head_manifest(place.repository, place.tag) is not None:
            [entry] = _entries(client, place)[:1]
            found[platform] = replace(entry, platform=platform)
    for entry in before:
        if entry.platform is not None and entry.platform.os != "unknown":
            found.setdefault(entry.platform, entry)
    images = [found[platform] for platform in sorted(found, key=str)]
    digests = {str(entry.digest) for entry in images}
    others = [entry for entry in before if entry.annotations.get(REFERENCE_DIGEST) in digests]
    return Index.of((*images, *others), annotations)


def _entries(client: RegistryClient, reference: Reference) -> Sequence[Descriptor]:
    """Return what a name has, with platforms; nothing where it is not there."""
    try:
        return entries_of(lambda _: client, fetch(lambda _: client, reference))
    except NotInRegistryError:
        return ()
