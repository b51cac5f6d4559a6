"""What an earlier build said of the same image: where nothing was built since, it is said and signed no second time.

So a registry does not get another attestation with each rebuild, and no key is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from tiffin.builder.image.attached.artifact import BUNDLE_PREDICATE, SIGNER, Artifact
from tiffin.builder.image.attached.attestation import PREDICATE_ANNOTATION, PROVENANCE
from tiffin.builder.image.signing.envelope import BUNDLES, Bundle
from tiffin.builder.image.signing.statements import SIGN_PREDICATE
from tiffin.cache.foundation.digest import Digest


class Unchanged:
    """Finds artifacts that say what is to be said.

    `kept` gives those of an image; `signer` is who signs, "" for nobody.
    """

    def __init__(self, kept: Callable[[Digest], Sequence[Artifact]], signer: str) -> None:
        self._kept = kept
        self._signer = signer

    def attestation(self, subject: Digest, predicate_type: str, statement: bytes) -> tuple[Artifact, bytes] | None:
        """Return the artifact of a statement that says the same but for its times, and that statement."""
        for artifact in self._kept(subject):
            if self._signs(artifact, predicate_type):
                known = Bundle.decode(artifact.blobs[-1][1]).envelope.payload
            elif not self._signer and artifact.row.annotations.get(PREDICATE_ANNOTATION) == predicate_type:
                known = artifact.blobs[-1][1]
            else:
                continue
            if known == statement or (predicate_type == PROVENANCE and _timeless(known) == _timeless(statement)):
                return artifact, known
        return None

    def signature(self, subject: Digest, claims: Mapping[str, object]) -> Artifact | None:
        """Return the signature of an image with these claims."""
        for artifact in self._kept(subject):
            if self._signs(artifact, SIGN_PREDICATE):
                signed = Bundle.decode(artifact.blobs[-1][1]).envelope.statement()
                if dict(signed.claims) == dict(claims) and subject in signed.subjects:
                    return artifact
        return None

    def _signs(self, artifact: Artifact, predicate_type: str) -> bool:
        row = artifact.row
        named = (row.annotations.get(BUNDLE_PREDICATE), row.annotations.get(SIGNER))
        return row.artifact_type in BUNDLES and bool(self._signer) and named == (predicate_type, self._signer)


def _timeless(statement: bytes) -> object:
    """Return a statement of a provenance without what each build has of its own."""
    document = json.loads(statement)
    predicate = document["predicate"]
    for name in ("startedOn", "finishedOn"):
        predicate["runDetails"]["metadata"].pop(name, None)
    inner = predicate["buildDefinition"]["internalParameters"]
    inner.pop("isolation", None)
    for step in inner.get("buildConfig", {}).get("steps", ()):
        step.pop("result", None)
    return document
