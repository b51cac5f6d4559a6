"""Verify an image: by whom it is signed, and that nothing which its signature lists is missing.

All of it works on documents that are there: no network is needed besides where the image is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tiffin.builder.errors import ImageError, VerificationError
from tiffin.builder.image.attached.finding import IN_INDEX, Found, Subject
from tiffin.builder.image.signing.envelope import BUNDLES, Bundle, Envelope
from tiffin.builder.image.signing.keys import VerifyingKey
from tiffin.builder.image.signing.simple import SIMPLE_SIGNING, SimpleSignature, read_signature
from tiffin.builder.image.signing.statements import SIGN_PREDICATE, attested_in, envelope_in, listed_in
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.foundation.typing_shim import Protocol


class Checker(Protocol):
    """Says what is wrong with a signature, "" for nothing."""

    def fault_of_bundle(self, bundle: Bundle) -> str: ...

    def fault_of_envelope(self, envelope: Envelope) -> str: ...

    def fault_of_simple(self, made: SimpleSignature) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChecker:
    """Wants signatures of one key."""

    key: VerifyingKey

    def fault_of_bundle(self, bundle: Bundle) -> str:
        if bundle.has_certificate:
            return "it was signed by a certificate, not by a key"
        return self.fault_of_envelope(bundle.envelope)

    def fault_of_envelope(self, envelope: Envelope) -> str:
        return "" if envelope.is_signed_by(self.key) else self._fault()

    def fault_of_simple(self, made: SimpleSignature) -> str:
        return "" if self.key.is_valid(made.signature, made.payload) else self._fault()

    def _fault(self) -> str:
        return f"it is not a signature of the key {self.key.name}, or was changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A signed document: what it is (a predicate's type), what it claims, and what is wrong with it, "" for nothing."""

    found: Found
    predicate_type: str
    claims: Mapping[str, object]
    fault: str

    @property
    def is_signature(self) -> bool:
        return self.predicate_type == SIGN_PREDICATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was verified: good signatures of the image, good signed attestations, and those that signatures cover."""

    digest: Digest
    signatures: tuple[Checked, ...]
    attestations: tuple[Checked, ...]
    listed: tuple[str, ...]


def verify(name: str, subjects: Sequence[Subject], documents: Sequence[Found], checker: Checker) -> Verified:
    """Verify what `documents` say of the first of `subjects`; the others are the images of that index.

    Raises VerificationError.
    """
    digest = subjects[0].descriptor.digest
    checked = [item for found in documents if (item := _checked(found, checker)) is not None]
    signatures = [item for item in checked if item.is_signature and item.found.subject == digest]
    good = tuple(item for item in signatures if not item.fault)
    if not good:
        raise _not_signed(name, digest, signatures)
    there = set(attested_in(documents))
    whole = tuple(item for item in good if there.issuperset(listed_in(item.claims)))
    if not whole:
        missing = dict.fromkeys(entry for item in good for entry in listed_in(item.claims) if entry not in there)
        kinds = ", ".join(dict.fromkeys(entry.rpartition("@")[0] for entry in missing))
        raise VerificationError(
            f"{name} ({digest}) was signed with attestations that are no longer there: {kinds}",
            remedy="somebody took them away, or changed them: build and sign it again",
        )
    listed = {entry for item in whole for entry in listed_in(item.claims)}
    listed |= set(attested_in(found for found in documents if found.where == IN_INDEX))  # of the digest that is signed
    attestations = tuple(item for item in checked if not item.is_signature and not item.fault)
    return Verified(digest=digest, signatures=whole, attestations=attestations, listed=tuple(sorted(listed)))


def _not_signed(name: str, digest: Digest, signatures: Sequence[Checked]) -> VerificationError:
    if not signatures:
        return VerificationError(f"{name} ({digest}) is not signed", remedy="sign it: tiffin sign NAME --key FILE")
    faults = "; ".join(dict.fromkeys(item.fault for item in signatures))
    return VerificationError(
        f"none of {len(signatures)} signatures of {name} ({digest}) is good: {faults}",
        remedy="give the key or identity that signed it, and do not use the image otherwise",
    )


def _checked(found: Found, checker: Checker) -> Checked | None:
    """Return what a signed document is; None for one that is not signed."""
    try:
        if found.layer.media_type == SIMPLE_SIGNING:
            return _checked_simple(found, checker)
        envelope = envelope_in(found)
        if envelope is None:
            return None
        statement = envelope.statement()
        if found.layer.media_type in BUNDLES:
            fault = checker.fault_of_bundle(Bundle.decode(found.data))
        else:
            fault = checker.fault_of_envelope(envelope)
        kind = statement.attestation.predicate_type
        claims, about = statement.claims, statement.subjects
    except ImageError as exc:
        return Checked(found=found, predicate_type=SIGN_PREDICATE, claims={}, fault=f"it is damaged: {exc.message}")
    return Checked(found=found, predicate_type=kind, claims=claims, fault=fault or _elsewhere(found, about))


def _checked_simple(found: Found, checker: Checker) -> Checked:
    made = read_signature(found.layer, found.data)
    fault = checker.fault_of_simple(made) or _elsewhere(found, [made.digest])
    return Checked(found=found, predicate_type=SIGN_PREDICATE, claims=made.claims, fault=fault)


def _elsewhere(found: Found, about: Sequence[Digest]) -> str:
    """Return the fault of a signature of another image: a good one, which somebody put here."""
    return "" if found.subject in about else f"it signs another image: {', '.join(map(str, about))}"
