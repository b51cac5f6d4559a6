"""Indexes made in registries or layouts of images that are there: nothing of them is kept here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import BinaryIO

from tiffin.builder.errors import ImageError
from tiffin.builder.oci.config import ImageConfig
from tiffin.builder.oci.json_fields import Fields
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import INDEX_TYPES, Descriptor, Index, Manifest, platform_more
from tiffin.builder.registry.client import FetchedManifest, RegistryClient
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, replace
from tiffin.cache.foundation.typing_shim import Protocol


class Place(Protocol):
    """Where documents and blobs are, by repository: a registry, or layouts on disk."""

    def get_manifest(self, repository: str, selector: str) -> FetchedManifest: ...

    def has_manifest(self, repository: str, digest: Digest) -> bool: ...

    def put_manifest(self, repository: str, selector: str, data: bytes, media_type: str) -> Digest: ...

    def get_blob(self, repository: str, descriptor: Descriptor) -> AbstractContextManager[BinaryIO]: ...

    def push_blob(
        self,
        repository: str,
        descriptor: Descriptor,
        opener: Callable[[], BinaryIO],
        *,
        mount_from: Sequence[str] = (),
    ) -> object: ...


Clients = Callable[[str], Place]  # by registry


def with_layouts(registries: Callable[[str], RegistryClient]) -> Clients:
    """Return places of registries, and of layouts for names that mean those."""
    from tiffin.builder.image.layout_place import LayoutPlace, is_layout

    layouts = LayoutPlace()
    return lambda registry: layouts if is_layout(registry) else registries(registry)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteDocument:
    """A manifest or index where it is; `index` is None for a manifest."""

    reference: Reference
    data: bytes
    media_type: str
    digest: Digest
    index: Index | None

    @property
    def descriptor(self) -> Descriptor:
        """Return what it is, without a platform."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size_bytes=len(self.data))


def fetch(clients: Clients, reference: Reference) -> RemoteDocument:
    """Return what a name stands for. Raises RegistryError, ImageError."""
    client = clients(reference.registry)
    found = client.get_manifest(reference.repository, reference.selector)
    media_type = _media_type(found)
    index = Index.decode(found.data, media_type) if media_type in INDEX_TYPES else None
    return RemoteDocument(reference=reference, data=found.data, media_type=media_type, digest=found.digest, index=index)


def image_config(clients: Clients, reference: Reference) -> bytes:
    """Return the configuration of a manifest, as it is. Raises RegistryError, ImageError."""
    client = clients(reference.registry)
    found = client.get_manifest(reference.repository, reference.selector)
    manifest = Manifest.decode(found.data, _media_type(found))
    with client.get_blob(reference.repository, manifest.config) as stream:
        return stream.read()


def entries_of(clients: Clients, document: RemoteDocument) -> tuple[Descriptor, ...]:
    """Return what an index of it would list: its own entries, or itself with its platform."""
    if document.index is not None:
        return document.index.manifests
    at_digest = replace(document.reference, tag=None, digest=document.digest)
    config = image_config(clients, at_digest)
    more = platform_more(Fields.decode(config, "config"))
    return (replace(document.descriptor, platform=ImageConfig.decode(config).platform, platform_more=more),)


def push_index(clients: Clients, index: Index, sources: Mapping[Digest, Reference], target: Reference) -> Digest:
    """Push an index under a name, with what it lists from where `sources` have it; return its digest."""
    sources = {entry.digest: sources[entry.digest] for entry in index.manifests}
    return push_document(clients, index.encode(), index.media_type, sources, target)


def push_document(
    clients: Clients, data: bytes, media_type: str, sources: Mapping[Digest, Reference], target: Reference
) -> Digest:
    """Push the text of an index under a name, with all of `sources`; return its digest."""
    for digest, source in sources.items():
        _copy(clients, source, digest, target)
    return clients(target.registry).put_manifest(
        target.repository, target.tag or str(Digest.of(data)), data, media_type
    )


def push_copy(clients: Clients, document: RemoteDocument, target: Reference) -> Digest:
    """Push a manifest or index as it is under another name; return its digest."""
    _copy(clients, document.reference, document.digest, target)
    return clients(target.registry).put_manifest(
        target.repository, target.tag or str(document.digest), document.data, document.media_type
    )


def _copy(clients: Clients, source: Reference, digest: Digest, target: Reference) -> None:
    """Bring a manifest and all below it into another repository."""
    client, other = clients(source.registry), clients(target.registry)
    if other.has_manifest(target.repository, digest):
        return
    found = client.get_manifest(source.repository, str(digest))
    media_type = _media_type(found)
    if media_type in INDEX_TYPES:
        for entry in Index.decode(found.data, media_type).manifests:
            _copy(clients, source, entry.digest, target)
    else:
        manifest = Manifest.decode(found.data, media_type)
        mounts = [source.repository] if source.registry == target.registry else []
        with ExitStack() as stack:
            for descriptor in _blobs(manifest):
                opener = _opener(client, source.repository, descriptor, stack)
                other.push_blob(target.repository, descriptor, opener, mount_from=mounts)
    other.put_manifest(target.repository, str(digest), found.data, media_type)


def _opener(client: Place, repository: str, descriptor: Descriptor, stack: ExitStack) -> Callable[[], BinaryIO]:
    return lambda: stack.enter_context(client.get_blob(repository, descriptor))


def _blobs(manifest: Manifest) -> Iterator[Descriptor]:
    """Yield what a registry has to hold, each once."""
    yield from {item.digest: item for item in (manifest.config, *manifest.layers) if not item.urls}.values()


def _media_type(found: FetchedManifest) -> str:
    try:
        own = json.loads(found.data).get("mediaType", "")
    except (ValueError, AttributeError) as exc:
        raise ImageError(f"{found.digest} is not a manifest", remedy="push the image again") from exc
    return str(own or found.media_type)


def joined(entries: Sequence[Descriptor]) -> tuple[Descriptor, ...]:
    """Return entries with each digest once, where it is first; annotations of all, and the platform of the last."""
    found: dict[Digest, Descriptor] = {}
    for entry in entries:
        first = found.setdefault(entry.digest, entry)
        named = entry if entry.platform else first
        found[entry.digest] = replace(
            first,
            platform=named.platform,
            platform_more=named.platform_more,
            annotations={**first.annotations, **entry.annotations},
        )
    return tuple(found.values())
