"""Lists of manifests as `docker manifest` has them: put together here, then pushed to a registry or a layout."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tiffin.builder.api.session import Session
from tiffin.builder.errors import ContainerError, CorruptError, NotFoundError, NotInRegistryError, UsageError
from tiffin.builder.events import Sink
from tiffin.builder.image import remote_indexes
from tiffin.builder.image.layout_place import is_layout, parse_place
from tiffin.builder.image.remote_indexes import Clients, RemoteDocument
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import DOCKER_INDEX, OCI_INDEX, OCI_MANIFEST, Platform
from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.files import write_atomically
from tiffin.cache.foundation.frozen import asdict, dataclass, replace

FOLDER = "manifests"  # below the state directory
LOCK = "manifest-lists"
# of Go's ports, those of images: docker's list (cli/command/manifest/util.go)
KNOWN = {
    "darwin": ("386", "amd64", "arm", "arm64"), "dragonfly": ("amd64",), "freebsd": ("386", "amd64", "arm", "arm64"),
    "netbsd": ("386", "amd64", "arm"), "openbsd": ("386", "amd64", "arm"), "plan9": ("386", "amd64"),
    "solaris": ("amd64",), "windows": ("386", "amd64", "arm", "arm64"),
    "linux": ("386", "amd64", "arm", "arm64", "ppc64", "ppc64le", "mips64", "mips64le", "riscv64", "s390x", "loong64"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A manifest of a list: where it is, what it is, and its platform by the names of the specification."""

    ref: str
    media_type: str
    digest: str
    size: int
    platform: Mapping[str, object]
    raw: str  # its text

    @property
    def kind(self) -> str:
        """Return docker's word for its form."""
        return "OCIManifest" if self.media_type == OCI_MANIFEST else "SchemaV2Manifest"

    def row(self) -> dict[str, object]:
        """Return what an index says of it, in docker's order."""
        return {"mediaType": self.media_type, "size": self.size, "digest": self.digest, "platform": self.platform}


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """What `annotate` sets; "" and () leave things as they are."""

    os: str = ""
    architecture: str = ""
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()


class ManifestLists:
    """The lists of a state directory."""

    def __init__(self, session: Session, sink: Sink, access: RegistryAccess) -> None:
        self._session = session
        self._folder = session.state.root / FOLDER
        self._clients: Clients = remote_indexes.with_layouts(session.remote(sink, access, None).client)

    def create(self, name: str, manifests: Sequence[str], *, amends: bool) -> Reference:
        """Begin a list, or add to one that is there: a manifest of a name that it has takes that one's place.

        Raises ContainerError, RegistryError.
        """
        reference = parse_place(name)
        with self._session.state.lock(LOCK):
            before = self._read(reference)
            if before is not None and not amends:
                raise ContainerError("refusing to amend an existing manifest list with no --amend flag")
            made = [self._look_up(text) for text in manifests]
            names = {entry.ref for entry in made}
            self._write(reference, [*(entry for entry in before or () if entry.ref not in names), *made])
        return reference

    def annotate(self, name: str, manifest: str, annotation: Annotation) -> None:
        """Change the platform of a manifest of a list. Raises NotFoundError, UsageError."""
        reference, wanted = parse_place(name), str(parse_place(manifest))
        with self._session.state.lock(LOCK):
            entries = self._read(reference) or []
            if all(entry.ref != wanted for entry in entries):
                raise NotFoundError(f"manifest for image {wanted} does not exist in {reference}")
            self._write(
                reference, [_annotated(entry, annotation) if entry.ref == wanted else entry for entry in entries]
            )

    def push(self, name: str, *, purges: bool) -> Digest:
        """Push a list with all that it names; return its digest. Raises NotFoundError, RegistryError."""
        reference = parse_place(name)
        entries = self._need(reference)
        for entry in entries:
            if not entry.platform.get("os") or not entry.platform.get("architecture"):
                raise UsageError(
                    f"manifest {entry.ref} must have an OS and Architecture to be pushed to a registry",
                    remedy="give both with manifest annotate",
                )
        data = index_text(entries).encode()
        sources = {Digest.parse(entry.digest): parse_place(entry.ref) for entry in entries}
        digest = remote_indexes.push_document(self._clients, data, media_type_of(entries), sources, reference)
        if purges:
            self.remove(name)
        return digest

    def inspect(self, name: str) -> list[Entry] | RemoteDocument:
        """Return the list that is here, else what a registry calls so. Raises NotFoundError, RegistryError."""
        reference = parse_place(name)
        entries = self._read(reference)
        if entries is not None:
            return entries
        try:
            return remote_indexes.fetch(self._clients, reference)
        except NotInRegistryError as exc:
            raise NotFoundError(f"no such manifest: {reference}") from exc

    def in_list(self, name: str, manifest: str) -> Entry:
        """Return a manifest of a list that is here. Raises NotFoundError."""
        reference, wanted = parse_place(name), str(parse_place(manifest))
        for entry in self._read(reference) or ():
            if entry.ref == wanted:
                return entry
        raise NotFoundError(f"no such manifest: {wanted}")

    def described(self, document: RemoteDocument) -> list[Entry]:
        """Return what a registry has as entries, each with its platform. Raises RegistryError."""
        if document.index is None:
            return [self._look_up(str(document.reference))]
        rows = json.loads(document.data)["manifests"]
        names = [str(replace(document.reference, digest=row.digest)) for row in document.index.manifests]
        return [self._look_up(name, row.get("platform", {})) for name, row in zip(names, rows, strict=True)]

    def remove(self, name: str) -> None:
        """Forget a list. Raises NotFoundError."""
        reference = parse_place(name)
        self._need(reference)
        self._path(reference).unlink(missing_ok=True)

    def _need(self, reference: Reference) -> list[Entry]:
        entries = self._read(reference)
        if entries is None:
            raise NotFoundError(f"No such manifest: {reference}", remedy="begin one with manifest create")
        return entries

    def _look_up(self, text: str, platform: Mapping[str, object] | None = None) -> Entry:
        """Return what is there; its platform is that of its configuration, unless an index said another."""
        reference = parse_place(text)
        try:
            found = remote_indexes.fetch(self._clients, reference)
        except NotInRegistryError as exc:
            raise NotFoundError(f"no such manifest: {reference}", remedy="push it first") from exc
        if found.index is not None:
            raise UsageError(
                f"{reference} is a manifest list",
                remedy="name the manifests that it lists, or join lists with buildx imagetools create",
            )
        if platform is None:
            [descriptor] = remote_indexes.entries_of(self._clients, found)
            platform = _platform(descriptor.platform)
        return Entry(
            ref=str(reference),
            media_type=found.media_type,
            digest=str(found.digest),
            size=len(found.data),
            platform=platform,
            raw=found.data.decode(),
        )

    def _path(self, reference: Reference) -> Path:
        return self._folder / f"{Digest.of(str(reference).encode()).hex}.json"

    def _read(self, reference: Reference) -> list[Entry] | None:
        path = self._path(reference)
        try:
            return [Entry(**row) for row in json.loads(path.read_bytes())]
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as exc:
            raise CorruptError(f"{path} is damaged", remedy="remove it, and create the list again") from exc

    def _write(self, reference: Reference, entries: Sequence[Entry]) -> None:
        self._folder.mkdir(exist_ok=True)
        write_atomically(self._path(reference), json.dumps([asdict(entry) for entry in entries]).encode())


def registries_of(names: Iterable[str]) -> tuple[str, ...]:
    """Return the registries that names are in. Raises ImageError."""
    registries = dict.fromkeys(parse_place(name).registry for name in names)
    return tuple(registry for registry in registries if not is_layout(registry))


def media_type_of(entries: Sequence[Entry]) -> str:
    """Return the type of the index: OCI's as soon as one of its manifests is OCI's."""
    return OCI_INDEX if any(entry.media_type == OCI_MANIFEST for entry in entries) else DOCKER_INDEX


def index_text(entries: Sequence[Entry]) -> str:
    """Return the text of an index, as docker writes it."""
    rows = [entry.row() for entry in entries]
    document = {"schemaVersion": 2, "mediaType": media_type_of(entries), "manifests": rows}
    return json.dumps(document, indent=3, ensure_ascii=False)


def _platform(platform: Platform | None) -> dict[str, object]:
    if platform is None:
        return {}
    variant = {"variant": platform.variant} if platform.variant else {}
    return {"architecture": platform.architecture, "os": platform.os, **variant}


def _annotated(entry: Entry, annotation: Annotation) -> Entry:
    old = entry.platform
    given: dict[str, object] = {
        "architecture": annotation.architecture or old.get("architecture", ""),
        "os": annotation.os or old.get("os", ""),
        "os.version": annotation.os_version or old.get("os.version", ""),
        "os.features": list(annotation.os_features) or old.get("os.features", []),
        "variant": annotation.variant or old.get("variant", ""),
    }
    system, architecture = str(given["os"]), str(given["architecture"])
    if architecture not in KNOWN.get(system, ()):
        raise UsageError(
            f"manifest entry for image has unsupported os/arch combination: {system}/{architecture}",
            remedy="write Go's names, such as --os linux --arch arm64",
        )
    return replace(entry, platform={name: value for name, value in given.items() if value})
