"""What is attached to images and in them, for policies."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from tiffin.builder.api.session import Session
from tiffin.builder.errors import ImageError, RegistryError, UsageError, VerificationError
from tiffin.builder.events import NullSink
from tiffin.builder.oci.reference import Reference
from tiffin.builder.policy.facts import Evidence, Package
from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import replace

if TYPE_CHECKING:
    from tiffin.builder.api.attest.listing import Said
    from tiffin.builder.api.attest.signing import Verified
    from tiffin.builder.image.attached.places import AttachedPlace
    from tiffin.builder.sbom.bill import Bill


class NoEvidence(Evidence):
    """Refuses by name: what cannot be told is not allowed."""

    def signed_by(self, reference: Reference, digest: str, key: str) -> bool:
        raise UsageError("signatures are not looked for here", remedy="judge it where it is pulled or built")

    def builders(self, reference: Reference, digest: str, key: str) -> Sequence[str]:
        raise UsageError("a provenance is not looked for here", remedy="judge it where it is pulled or built")

    def has_provenance(self, reference: Reference, digest: str) -> bool:
        raise UsageError("a provenance is not looked for here", remedy="judge it where it is pulled or built")


NO_EVIDENCE = NoEvidence()


class AttachedEvidence(Evidence):
    """Looks beside an image here and in its registry. What cannot be read counts as missing."""

    def __init__(self, session: Session, access: RegistryAccess) -> None:
        self._session = session
        self._access = access

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
        """Whether there is a provenance beside the image, signed or not."""
        from tiffin.builder.api.attest.listing import said_of

        for place in self._places(reference, digest):
            with contextlib.suppress(RegistryError, ImageError):
                if any(item.subject == Digest.parse(digest) for item in _provenance(said_of(place))):
                    return True
        return False

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
    from tiffin.builder.api.attest.listing import kinds_of

    return (item for item in said if item.statement is not None and item.predicate_type in kinds_of("provenance"))


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
