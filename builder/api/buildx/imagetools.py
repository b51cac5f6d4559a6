"""Look at images in registries, and make indexes of them there."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from tiffin.builder.api.session import Session
from tiffin.builder.delivery.annotations import Annotations
from tiffin.builder.errors import UsageError
from tiffin.builder.events import InfoMessage, Sink, WarningMessage
from tiffin.builder.image import remote_indexes
from tiffin.builder.image.layout_place import is_layout, parse_place
from tiffin.builder.image.remote_indexes import RemoteDocument as RemoteDocument
from tiffin.builder.oci.json_fields import Fields
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import (
    OCI_MANIFEST,
    REFERENCE_DIGEST,
    Descriptor,
    Index,
    Platform,
)
from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.image.attached.places import AttachedPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexOptions:
    """What an index is made of. A source is a reference, or a digest or descriptor in the repository of `names`.

    `appends`: the entries that the first name has come first; `platforms`: only these, () for all; `is_index`: one
    manifest becomes an index of one.
    """

    names: tuple[str, ...]
    sources: tuple[str, ...]
    appends: bool = False
    platforms: tuple[Platform, ...] = ()
    annotations: Annotations = Annotations(())
    is_index: bool = True


def inspect(name: str, session: Session, sink: Sink, access: RegistryAccess) -> RemoteDocument:
    """Return what a name stands for in its registry. Raises RegistryError."""
    return remote_indexes.fetch(_places(session, sink, access), parse_place(name))


def configs(document: RemoteDocument, session: Session, sink: Sink, access: RegistryAccess) -> Mapping[str, object]:
    """Return the configurations of a document by platform; that of a manifest by "". Raises RegistryError."""
    clients = _places(session, sink, access)
    if document.index is None:
        return {"": json.loads(remote_indexes.image_config(clients, document.reference))}
    return {
        str(entry.platform): json.loads(
            remote_indexes.image_config(clients, replace(document.reference, tag=None, digest=entry.digest))
        )
        for entry in document.index.manifests
        if entry.platform is not None and entry.platform.os != "unknown"
    }


def make_index(options: IndexOptions, session: Session, sink: Sink, access: RegistryAccess) -> RemoteDocument:
    """Return the index that sources make, or the only one as it is; nothing is pushed. Raises RegistryError."""
    return _made(options, session, sink, access)[0]


def push_index(options: IndexOptions, session: Session, sink: Sink, access: RegistryAccess) -> Digest:
    """Make an index and push it under each name; return its digest. Raises RegistryError, UsageError."""
    if not options.names:
        raise UsageError("there is no name to push to", remedy="name one with --tag, or add --dry-run")
    made, sources = _made(options, session, sink, access)
    clients = _places(session, sink, access)
    for text in options.names:
        target = parse_place(text)
        if made.digest in sources:
            remote_indexes.push_copy(clients, replace(made, reference=sources[made.digest]), target)
        else:
            assert made.index is not None
            remote_indexes.push_index(clients, made.index, sources, target)
        _copy_attached(sources, target, session, sink, access)
        sink.emit(InfoMessage(message=f"pushed {target}@{made.digest}"))
    return made.digest


def provenance_and_sbom(name: str, session: Session, sink: Sink, access: RegistryAccess) -> Mapping[str, object]:
    """Return what is attested of an image as templates of buildx name it: Provenance and SBOM, of several platforms by
    platform. Raises RegistryError.
    """
    from tiffin.builder.api.attest.listing import said_of
    from tiffin.builder.image.attached.attestation import CYCLONEDX, OLD_PROVENANCE, PROVENANCE, SPDX

    place = _attached_place(parse_place(name), session, sink, access)
    members = {PROVENANCE: ("Provenance", "SLSA"), OLD_PROVENANCE: ("Provenance", "SLSA")}
    members |= {SPDX: ("SBOM", "SPDX"), CYCLONEDX: ("SBOM", "CycloneDX")}
    found: dict[str, dict[str, dict[str, object]]] = {"Provenance": {}, "SBOM": {}}
    for item in said_of(place):
        if item.statement is not None and item.predicate_type in members:
            member, key = members[item.predicate_type]
            found[member].setdefault(item.platform, {})[key] = item.statement.attestation.predicate
    return {member: _unless_several(platforms) for member, platforms in found.items()}


def _unless_several(platforms: Mapping[str, Mapping[str, object]]) -> Mapping[str, object]:
    """Return the documents of the only platform as they are, of several by platform, as buildx does."""
    return next(iter(platforms.values()), {}) if len(platforms) < 2 else platforms


def _copy_attached(
    sources: Mapping[Digest, Reference], target: Reference, session: Session, sink: Sink, access: RegistryAccess
) -> None:
    """Copy what is said of images that came from another repository."""
    from tiffin.builder.image.attached.copying import copy_attached

    for digest, source in sources.items():
        if source.name != target.name:
            places = [_attached_place(reference, session, sink, access) for reference in (source, target)]
            copy_attached(places[0], places[1], digest)


def _attached_place(reference: Reference, session: Session, sink: Sink, access: RegistryAccess) -> AttachedPlace:
    from pathlib import Path

    from tiffin.builder.image.archive import FolderMembers
    from tiffin.builder.image.attached.places import LayoutFiles, RegistryPlace

    if is_layout(reference.registry):
        path = Path(reference.repository)
        return LayoutFiles(FolderMembers(path), path, reference.tag, reference.digest)
    return RegistryPlace(session.remote(sink, access, None).client(reference.registry), reference)


def _places(session: Session, sink: Sink, access: RegistryAccess) -> remote_indexes.Clients:
    return remote_indexes.with_layouts(session.remote(sink, access, None).client)


def _chosen(entries: Sequence[Descriptor], platforms: Collection[Platform], sink: Sink) -> list[Descriptor]:
    """Return the images for these platforms, with their attestations. Raises UsageError where there is none."""
    there = {entry.platform for entry in entries}
    missing = ", ".join(str(platform) for platform in platforms if platform not in there)
    if not there & set(platforms):
        had = ", ".join(sorted(str(platform) for platform in there if platform and platform.os != "unknown"))
        raise UsageError(f"no source has an image for {missing}", remedy=f"choose of {had}")
    if missing:
        sink.emit(WarningMessage(message=f"no source has an image for {missing}"))
    chosen = {str(entry.digest) for entry in entries if entry.platform in platforms}
    return [
        entry for entry in entries if str(entry.digest) in chosen or entry.annotations.get(REFERENCE_DIGEST) in chosen
    ]


def _read(
    clients: remote_indexes.Clients, texts: Sequence[str], names: Sequence[str]
) -> tuple[list[RemoteDocument], list[Descriptor], dict[Digest, Reference]]:
    """Return what sources stand for, what an index of them would list, and where each of that is."""
    documents: list[RemoteDocument] = []
    entries: list[Descriptor] = []
    places: dict[Digest, Reference] = {}
    for text in texts:
        reference, given = _source(text, names)
        document = remote_indexes.fetch(clients, reference)
        documents.append(document)
        for entry in remote_indexes.entries_of(clients, document):
            entries.append(_described(entry, given, document))
            places.setdefault(entry.digest, document.reference)
    return documents, entries, places


def _described(entry: Descriptor, given: Descriptor | None, document: RemoteDocument) -> Descriptor:
    """Return the entry of a manifest with what the descriptor that names it says. Raises UsageError."""
    if given is None or document.index is not None:
        return entry
    if given.size_bytes not in (0, entry.size_bytes):
        raise UsageError(
            f"{entry.digest} has {entry.size_bytes} bytes, and its descriptor says {given.size_bytes}",
            remedy="correct the descriptor",
        )
    named = given if given.platform else entry
    return replace(
        entry,
        platform=named.platform,
        platform_more=named.platform_more,
        annotations={**entry.annotations, **given.annotations},
    )


def _made(
    options: IndexOptions, session: Session, sink: Sink, access: RegistryAccess
) -> tuple[RemoteDocument, dict[Digest, Reference]]:
    """Return a document, and where what it lists can be had; its own digest is there where it is one of the sources."""
    clients = _places(session, sink, access)
    texts = (*options.names[:1], *options.sources) if options.appends else options.sources
    if not texts:
        raise UsageError("there is no source", remedy="name an image that is in a registry")
    documents, entries, sources = _read(clients, texts, options.names)
    if options.platforms:
        entries = _chosen(entries, options.platforms, sink)
    if options.annotations.of("manifest"):
        raise UsageError(
            "an annotation of a manifest would change its digest", remedy="write index:K=V or manifest-descriptor:K=V"
        )
    only, annotations = documents[0], options.annotations.of("index")
    keeps = len(documents) == 1 and not annotations and not options.platforms
    if not annotations and len(documents) == 1 and only.index is not None:  # a part of one that is there
        annotations = dict(only.index.annotations)
    if keeps and (only.index is not None or not options.is_index):
        return only, {**sources, only.digest: only.reference}
    described = [
        replace(
            entry, annotations={**entry.annotations, **options.annotations.of("manifest-descriptor", entry.platform)}
        )
        if entry.platform is not None
        else entry
        for entry in remote_indexes.joined(entries)
    ]
    index = Index.of(described, annotations)
    data = index.encode()
    made = RemoteDocument(
        reference=only.reference, data=data, media_type=index.media_type, digest=Digest.of(data), index=index
    )
    return made, sources


def _source(text: str, names: Sequence[str]) -> tuple[Reference, Descriptor | None]:
    """Read a source: a reference, a digest, or a descriptor as JSON; the last two are of the repository that all names
    share. Raises UsageError, ImageError.
    """
    given = _descriptor(text) if text.lstrip().startswith("{") else None
    if given is None and not ("/" not in text and text.startswith(("sha256:", "sha512:"))):
        return parse_place(text), None
    digest = str(given.digest) if given else text
    repositories = {parse_place(name).name for name in names}
    if len(repositories) != 1:
        raise UsageError(
            f"{digest} does not say in which repository it is", remedy="write REPOSITORY@DIGEST, or one --tag"
        )
    return Reference.parse(f"{repositories.pop()}@{digest}"), given


def _descriptor(text: str) -> Descriptor:
    """Read a descriptor, of which all but the digest may be left out. Raises UsageError, ImageError."""
    fields = Fields.decode(text.encode(), "descriptor")
    if fields.has("schemaVersion"):
        raise UsageError("a source is a manifest, and not a descriptor", remedy="give its digest, or its descriptor")
    given = {"mediaType": OCI_MANIFEST, "size": 0, **fields.members}
    return Descriptor.from_fields(Fields(given, "descriptor"))
