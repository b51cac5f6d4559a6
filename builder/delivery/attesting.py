"""Attestations of a finished build: what producers say of each image, and the artifacts that go with it.

This is the one place between the producers and where their documents end up: a registry, the local store, a layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tiffin.builder.image.attached.artifact import Artifact, attestation_manifest, in_toto, referrer
from tiffin.builder.image.attached.attestation import Attestation, statement
from tiffin.builder.image.signing.statements import Signer, claims_of, entry_of, signature_of
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Descriptor, Index, Platform
from tiffin.builder.solver.build import Built
from tiffin.builder.solver.trace import RAN
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass, replace
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tiffin.builder.delivery.unchanged import Unchanged

REFERRERS, INDEX = "referrers", "index"


class Producer(Protocol):
    """Makes attestations of an image that is built: a provenance, an SBOM."""

    def attestations(self, platform: Platform, built: Built) -> Sequence[Attestation]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """What goes with the images of a build, by platform; `form` is REFERRERS or INDEX."""

    form: str = REFERRERS
    signatures: tuple[Artifact, ...] = ()
    attestations: Mapping[Platform, tuple[Attestation, ...]]
    artifacts: Mapping[Platform, tuple[Artifact, ...]]
    entries: Mapping[Digest, Sequence[str]]  # the referrers of each image, as signatures list them

    @property
    def in_index(self) -> tuple[Artifact, ...]:
        """Return the manifests that stand in the index of the image."""
        return self._all() if self.form == INDEX else ()

    @property
    def referrers(self) -> tuple[Artifact, ...]:
        """Return the artifacts that refer to the images."""
        return (*(self._all() if self.form == REFERRERS else ()), *self.signatures)

    def _all(self) -> tuple[Artifact, ...]:
        return tuple(artifact for found in self.artifacts.values() for artifact in found)


def attach(
    producers: Sequence[Producer],
    builds: Sequence[tuple[Platform, Built]],
    names: Sequence[Reference],
    form: str,
    signer: Signer | None = None,
    before: Unchanged | None = None,
) -> Attached:
    """Return what `producers` say of each image, as artifacts of the form; nothing of what has no manifest.

    A `signer` signs what refers to images; what is in an index is signed with that. What was said `before` is not said
    again.
    """
    made: dict[Platform, tuple[Attestation, ...]] = {}
    artifacts: dict[Platform, tuple[Artifact, ...]] = {}
    entries: dict[Digest, Sequence[str]] = {}
    for platform, built in builds:
        found = tuple(item for producer in producers for item in producer.attestations(platform, built))
        if found and built.manifest is not None:
            made[platform] = found
            subject = described(built)
            said = [(item.predicate_type, statement(item, names, subject.digest, platform)) for item in found]
            if form == INDEX:
                artifacts[platform] = (attestation_manifest(subject, [in_toto(text, kind) for kind, text in said]),)
                continue
            same = before if before is not None and not _ran(built) else None
            pairs = [_referring(subject, kind, text, signer, same) for kind, text in said]
            artifacts[platform] = tuple(artifact for artifact, _ in pairs)
            entries[subject.digest] = [entry_of(kind, text) for (kind, _), (_, text) in zip(said, pairs, strict=True)]
    return Attached(form=form, attestations=made, artifacts=artifacts, entries=entries)


def described(built: Built) -> Descriptor:
    """Return what the manifest of an image is."""
    assert built.manifest is not None
    data = built.manifest_bytes
    return Descriptor(media_type=built.manifest.media_type, digest=Digest.of(data), size_bytes=len(data))


def signed(
    attached: Attached,
    builds: Sequence[tuple[Platform, Built]],
    index: Index | None,
    signer: Signer,
    before: Unchanged | None = None,
) -> Attached:
    """Return what goes with the images and their signatures: of each, and of the index if there is one.

    Each signature lists the attestations that refer to its image, that of the index those of all. What is in the index
    is signed with its digest.
    """
    subjects = [described(built) for _, built in builds if built.manifest is not None]
    listed = {subject.digest: attached.entries.get(subject.digest, ()) for subject in subjects}
    if index is not None and subjects:
        data = index.encode()
        subjects.append(Descriptor(media_type=index.media_type, digest=Digest.of(data), size_bytes=len(data)))
        listed[subjects[-1].digest] = tuple(entry for entries in attached.entries.values() for entry in entries)
    subjects += [artifact.row for artifact in attached.in_index]  # BuildKit's policies look for these signatures
    made = []
    for subject in subjects:
        claims = claims_of(listed.get(subject.digest, ()), {})
        known = before.signature(subject.digest, claims) if before is not None else None
        made.append(known or signature_of(subject, claims, signer))
    return replace(attached, signatures=tuple(made))


def _referring(
    subject: Descriptor, predicate_type: str, text: bytes, signer: Signer | None, before: Unchanged | None
) -> tuple[Artifact, bytes]:
    """Return the artifact of a statement, and the statement, which may be the one of an earlier build."""
    known = before.attestation(subject.digest, predicate_type, text) if before is not None else None
    if known is not None:
        return known
    if signer is None:
        return referrer(subject, in_toto(text, predicate_type)), text
    from tiffin.builder.image.signing.envelope import bundled

    return referrer(subject, bundled(signer.bundle(text), predicate_type, signer.name)), text


def _ran(built: Built) -> bool:
    """Whether a step was made by this build."""
    return built.trace is None or any(step.source == RAN for step in built.trace.steps)
