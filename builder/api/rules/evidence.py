"""What is attached to images and in them, for policies."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.builder.api.session import Session
from tiffin.builder.errors import ImageError, RegistryError, UsageError, VerificationError
from tiffin.builder.events import NullSink, Sink
from tiffin.builder.instructions.ops import GitOrigin, UrlOrigin
from tiffin.builder.oci.config import ImageConfig
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Manifest, Platform
from tiffin.builder.policy.facts import Contents, Evidence, Package, Repository, Statement, VerifiedSignature
from tiffin.builder.settings.access import TRUSTED_ROOT_VARIABLE, RegistryAccess
from tiffin.cache.errors import DigestError
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import replace

if TYPE_CHECKING:
    from tiffin.builder.api.attest.listing import Said
    from tiffin.builder.api.attest.signing import Verified
    from tiffin.builder.image.attached.places import AttachedPlace
    from tiffin.builder.image.signing.keyless import KeylessReader
    from tiffin.builder.sbom.bill import Bill
    from tiffin.builder.sources.remote_sources import RemoteSources


class NoEvidence(Evidence):
    """Refuses by name: what cannot be told is not allowed."""

    def signed_by(self, reference: Reference, digest: str, key: str) -> bool:
        raise UsageError("signatures are not looked for here", remedy="judge it where it is pulled or built")

    def builders(self, reference: Reference, digest: str, key: str) -> Sequence[str]:
        raise UsageError("a provenance is not looked for here", remedy="judge it where it is pulled or built")

    def has_provenance(self, reference: Reference, digest: str) -> bool:
        raise UsageError("a provenance is not looked for here", remedy="judge it where it is pulled or built")

    def provenance(self, reference: Reference, digest: str) -> Statement | None:
        raise UsageError("a provenance is not looked for here", remedy="judge it where it is pulled or built")

    def signatures(self, reference: Reference, digest: str) -> Sequence[VerifiedSignature]:
        raise UsageError("signatures are not looked for here", remedy="judge it where it is pulled or built")

    def artifact_signature(self, bundle: bytes, digest: str) -> VerifiedSignature | None:
        raise UsageError("signatures are not looked for here", remedy="judge it where it is built")

    def repository(self, origin: GitOrigin) -> Repository:
        raise UsageError("repositories are not asked here", remedy="judge it where it is built")

    def file(self, origin: UrlOrigin) -> Path:
        raise UsageError("files are not fetched here", remedy="judge it where it is built")

    def image(self, reference: Reference, platform: Platform) -> Contents:
        raise UsageError("images are not looked up here", remedy="judge it where it is pulled or built")


NO_EVIDENCE = NoEvidence()


class AttachedEvidence(Evidence):
    """Looks beside an image here and in its registry. What cannot be read counts as missing. `sources` None: neither
    repositories nor files are asked.
    """

    def __init__(
        self, session: Session, access: RegistryAccess, sources: Callable[[], RemoteSources] | None = None
    ) -> None:
        self._session = session
        self._access = access
        self._sources = sources
        self._reader: KeylessReader | None = None

    def signed_by(self, reference: Reference, digest: str, key: str) -> bool:
        """Whether the image, or the index that its name leads to, has a good signature of a key."""
        return next(self._verified(reference, digest, key), None) is not None

    def builders(self, reference: Reference, digest: str, key: str) -> Sequence[str]:
        """Return the ids in all provenance of an image that a good signature covers."""
        from tiffin.builder.api.attest.listing import said_of
        from tiffin.builder.api.attest.signing import is_covered

        found: list[str] = []
        for place, verified in self._verified(reference, digest, key):
            abouts = {Digest.parse(digest), verified.digest}
            for item in _provenance(said_of(place)):
                if item.statement is not None and abouts & set(item.statement.subjects) and is_covered(item, verified):
                    found.append(_builder_of(item.statement.attestation.predicate))
            if found:
                break
        return list(dict.fromkeys(found))

    def has_provenance(self, reference: Reference, digest: str) -> bool:
        """Whether there is a provenance beside the image, signed or not, or another attestation in its index."""
        from tiffin.builder.image.attached.finding import IN_INDEX

        kinds = _kinds_of_provenance()
        return any(
            item.found.where == IN_INDEX or item.predicate_type in kinds for item in self._said(reference, digest)
        )

    def provenance(self, reference: Reference, digest: str) -> Statement | None:
        """Return the first provenance beside the image, signed or not."""
        kinds = _kinds_of_provenance()
        for item in self._said(reference, digest):
            if item.statement is not None and item.predicate_type in kinds:
                predicate = item.statement.attestation.predicate
                return Statement(predicate_type=item.predicate_type, predicate=predicate)
        return None

    def signatures(self, reference: Reference, digest: str) -> Sequence[VerifiedSignature]:
        """Return good bundles of identities about the image, the index that its name leads to, or its attestations."""
        from tiffin.builder.image.attached.finding import about_attestations, found_in, subjects_of
        from tiffin.builder.image.signing.envelope import BUNDLES

        made: dict[Digest, VerifiedSignature] = {}
        wanted = Digest.parse(digest)
        for place in self._places(reference, digest):
            with contextlib.suppress(RegistryError, ImageError):
                subjects = subjects_of(place)
                about = {wanted, subjects[0].descriptor.digest}
                if wanted not in {item.descriptor.digest for item in subjects}:
                    continue
                documents = [item for item in found_in(place, subjects) if item.subject in about]
                for found in (*documents, *about_attestations(place, subjects[0].descriptor, wanted)):
                    if found.layer.media_type in BUNDLES and found.manifest not in made:
                        signature = self._certified(found.data, found.subject)
                        made |= {found.manifest: signature} if signature is not None else {}
        return list(made.values())

    def artifact_signature(self, bundle: bytes, digest: str) -> VerifiedSignature | None:
        """Return who signed a provenance of a file."""
        return self._certified(bundle, Digest.parse(digest), _kinds_of_provenance())

    def repository(self, origin: GitOrigin) -> Repository:
        """Ask a repository."""
        named, commit, tag = self._remote_sources("a repository").repository(origin)
        return Repository(ref=named.ref, checksum=named.checksum, commit_checksum=named.commit, commit=commit, tag=tag)

    def file(self, origin: UrlOrigin) -> Path:
        """Fetch a file."""
        tree = self._remote_sources("a file").fetched(origin)
        return self._session.blobs.path(Digest.parse(f"sha256:{tree.children('.')[0].digest}"))

    def image(self, reference: Reference, platform: Platform) -> Contents:
        """Look an image up, here or in its registry."""
        return look_up(reference, platform, self._session, NullSink(), self._access)

    def _remote_sources(self, what: str) -> RemoteSources:
        if self._sources is None:
            raise UsageError(f"a policy asks {what} here", remedy="judge it where it is built")
        return self._sources()

    def _certified(self, data: bytes, about: Digest, kinds: Sequence[str] = ()) -> VerifiedSignature | None:
        """Return who signed a statement about a digest; of some types of predicates, if `kinds` has any."""
        from tiffin.builder.image.attached.attestation import Statement as Signed
        from tiffin.builder.image.signing.keyless import KeylessReader

        if self._reader is None:
            self._reader = KeylessReader(os.environ.get(TRUSTED_ROOT_VARIABLE, ""))
        certified = self._reader.read(data)
        if certified is None:
            return None
        with contextlib.suppress(ImageError, DigestError):
            signed = Signed.decode(certified.payload)
            if about in signed.subjects and (not kinds or signed.attestation.predicate_type in kinds):
                return VerifiedSignature(signer=certified.signer, timestamps=certified.timestamps)
        return None

    def _said(self, reference: Reference, digest: str) -> Iterator[Said]:
        """Yield what is said of an image, wherever it is."""
        from tiffin.builder.api.attest.listing import said_of

        for place in self._places(reference, digest):
            with contextlib.suppress(RegistryError, ImageError):
                yield from (item for item in said_of(place) if item.subject == Digest.parse(digest))

    def _verified(self, reference: Reference, digest: str, key: str) -> Iterator[tuple[AttachedPlace, Verified]]:
        """Yield where the image has a good signature of a key, or the index has that it belongs to."""
        from tiffin.builder.api.attest.signing import Trust, verify
        from tiffin.builder.image.attached.finding import subjects_of

        for place in self._places(reference, digest):
            with contextlib.suppress(VerificationError, RegistryError, ImageError):
                verified = verify(place, Trust(key=key))
                if Digest.parse(digest) in {item.descriptor.digest for item in subjects_of(place)}:
                    yield place, verified

    def _places(self, reference: Reference, digest: str) -> Iterator[AttachedPlace]:
        from tiffin.builder.api.attest.opening import opened

        exact = replace(reference, tag="", digest=Digest.parse(digest))
        for name, local in ((exact, True), (exact, False), (reference, False)):
            try:
                with opened(str(name), self._session, NullSink(), self._access, local=local) as place:
                    yield place
            except (RegistryError, ImageError):
                continue


def _provenance(said: Iterable[Said]) -> Iterator[Said]:
    kinds = _kinds_of_provenance()
    return (item for item in said if item.statement is not None and item.predicate_type in kinds)


def _kinds_of_provenance() -> Sequence[str]:
    from tiffin.builder.api.attest.listing import kinds_of

    return kinds_of("provenance")


def look_up(reference: Reference, platform: Platform, session: Session, sink: Sink, access: RegistryAccess) -> Contents:
    """Return what an image is, from here or its registry. Raises RegistryError, ImageError."""
    image = session.store.get(reference) or session.remote(sink, access).look_up(reference, platform)
    digest = image.descriptor.digest
    packages = packages_of(f"{reference.name}@{digest}", session, access)
    named = digest_named(session, reference, platform, digest)
    return contents_of(digest, image.config, image.manifest, packages, named)


def contents_of(
    digest: Digest,
    config: ImageConfig,
    manifest: Manifest | None,
    packages: Callable[[], Sequence[Package]],
    named: str = "",
) -> Contents:
    """Return an image as policies see it; `packages` lists what is in it, `named` is what its name leads to."""
    size = sum(layer.size_bytes for layer in manifest.layers) if manifest is not None else 0
    return Contents(digest=str(digest), config=config, size_bytes=size, named=named, packages=packages)


def digest_named(session: Session, reference: Reference, platform: Platform, digest: Digest) -> str:
    """Return what a registry has under the name that led to an image, which may be an index; "" if it is not known."""
    known = session.store.notes.resolved(reference, platform)
    return str(known.reported) if known is not None and known.manifest == digest else ""


def packages_of(name: str, session: Session, access: RegistryAccess) -> Callable[[], Sequence[Package]]:
    """Return what lists the packages of an image that has a name."""

    def listed() -> Sequence[Package]:
        from tiffin.builder.api.sbom.listing import SbomOptions, list_software

        return packages_in(list_software(name, SbomOptions(registry=access), session, NullSink()))

    return listed


def packages_in(bill: Bill) -> Sequence[Package]:
    """Return the packages of a bill of materials, with the lines that brought them. Raises ImageError where a file
    that tells of some was not read: a policy would allow what it cannot see.
    """
    for path, reason in bill.inventory.unread:
        raise ImageError(
            f"what software {bill.name} has cannot be told: /{path} was not read: {reason}",
            remedy="mend that, or except the image from packages-denied and licenses-denied",
        )
    return [
        Package(
            name=item.package.name,
            version=item.package.version,
            kind=item.package.type,
            licenses=(item.package.licence,) if item.package.licence else (),
            line=bill.origin(item).shown,
        )
        for item in bill.inventory.components
    ]


def _builder_of(predicate: object) -> str:
    """Return the id of the builder: in SLSA v1, or before."""
    fields = predicate if isinstance(predicate, dict) else {}
    details = fields.get("runDetails", fields)
    builder = details.get("builder", {}) if isinstance(details, dict) else {}
    return str(builder.get("id", "")) if isinstance(builder, dict) else ""
