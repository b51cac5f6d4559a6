"""Look at images in registries, and make indexes of them there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tiffin.builder.api.session import Session
from tiffin.builder.delivery.annotations import Annotations
from tiffin.builder.errors import UsageError
from tiffin.builder.events import InfoMessage, Sink
from tiffin.builder.image import remote_indexes
from tiffin.builder.image.layout_place import parse_place
from tiffin.builder.image.remote_indexes import RemoteDocument as RemoteDocument
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import OCI_INDEX, Descriptor, Index, Platform
from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexOptions:
    """What an index is made of. A source is a reference, or a digest in the repository of `names`.

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
        sink.emit(InfoMessage(message=f"pushed {target}@{made.digest}"))
    return made.digest


def _places(session: Session, sink: Sink, access: RegistryAccess) -> remote_indexes.Clients:
    return remote_indexes.with_layouts(session.remote(sink, access, None).client)


def _made(
    options: IndexOptions, session: Session, sink: Sink, access: RegistryAccess
) -> tuple[RemoteDocument, dict[Digest, Reference]]:
    """Return a document, and where what it lists can be had; its own digest is there where it is one of the sources."""
    clients = _places(session, sink, access)
    texts = (*options.names[:1], *options.sources) if options.appends else options.sources
    documents = [remote_indexes.fetch(clients, _source(text, options.names)) for text in texts]
    if not documents:
        raise UsageError("there is no source", remedy="name an image that is in a registry")
    entries: list[Descriptor] = []
    sources: dict[Digest, Reference] = {}
    for document in documents:
        for entry in remote_indexes.entries_of(clients, document):
            entries.append(entry)
            sources.setdefault(entry.digest, document.reference)
    if options.platforms:
        entries = [entry for entry in entries if entry.platform in options.platforms]
    if options.annotations.of("manifest"):
        raise UsageError(
            "an annotation of a manifest would change its digest", remedy="write index:K=V or manifest-descriptor:K=V"
        )
    annotations = options.annotations.of("index")
    only = documents[0]
    keeps = len(documents) == 1 and not annotations and not options.platforms
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
    index = Index(manifests=tuple(described), media_type=OCI_INDEX, annotations=annotations)
    data = index.encode()
    made = RemoteDocument(
        reference=only.reference, data=data, media_type=index.media_type, digest=Digest.of(data), index=index
    )
    return made, sources


def _source(text: str, names: Sequence[str]) -> Reference:
    """Read a source; a digest alone is of the repository that all names share."""
    if ":" in text and "/" not in text and text.startswith(("sha256:", "sha512:")):
        repositories = {parse_place(name).name for name in names}
        if len(repositories) != 1:
            raise UsageError(
                f"{text} does not say in which repository it is", remedy="write REPOSITORY@DIGEST, or one --tag"
            )
        return Reference.parse(f"{repositories.pop()}@{text}")
    return parse_place(text)
