"""Signatures that are kept apart from their image: in the repository of $COSIGN_REPOSITORY, as cosign does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tiffin.builder.errors import ImageError, RegistryError, UsageError
from tiffin.builder.image.attached.artifact import Artifact
from tiffin.builder.image.attached.referrers import fetch_artifacts, push_artifacts
from tiffin.builder.oci.reference import Reference
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.image.remote import Remote

VARIABLE = "COSIGN_REPOSITORY"
_BUNDLES = "application/vnd.dev.sigstore.bundle"  # what the types of all their versions begin with


def signatures_of(name: Reference, environ: Mapping[str, str]) -> Reference:
    """Return the repository that has what is signed about an image: its own one if the variable names no other.

    Raises UsageError where that is not a repository.
    """
    text = environ.get(VARIABLE, "")
    if not text:
        return name
    remedy = "name a repository, such as registry.example/signatures, without tag and digest"
    try:
        found = Reference.parse(text)
    except ImageError as exc:
        raise UsageError(f"${VARIABLE}: {exc.message}", remedy=exc.remedy or remedy) from exc
    if found.digest is not None or text.rpartition("/")[2].count(":"):
        raise UsageError(f'${VARIABLE} has a tag or a digest: "{text}"', remedy=remedy)
    return found


def push_with_attached(
    push_image: Callable[[], Digest],
    remote: Remote,
    name: Reference,
    artifacts: Sequence[Artifact],
    environ: Mapping[str, str],
) -> Digest:
    """Push an image and, meanwhile, what refers to it: a list of referrers under a tag takes a second look, which waits
    (see shared_tags). Return the digest of the image. Raises RegistryError.
    """
    if not artifacts:
        return push_image()
    from tiffin.cache.foundation.workers import Workers

    with Workers(1, "referrers") as pool:
        meanwhile = pool.submit(push_attached, remote, name, artifacts, environ)
        digest = push_image()
    try:
        meanwhile.result()
    except RegistryError:  # a registry may want the image first (distribution-spec, "Pushing Manifests with Subject")
        push_attached(remote, name, artifacts, environ)
    return digest


def push_attached(remote: Remote, name: Reference, artifacts: Sequence[Artifact], environ: Mapping[str, str]) -> None:
    """Push what refers to an image: beside it, and what is signed to where that is kept. Raises RegistryError."""
    elsewhere = signatures_of(name, environ)
    found: dict[str, list[Artifact]] = {}
    places = {place.name: place for place in (name, elsewhere)}
    for artifact in artifacts:
        place = elsewhere if artifact.row.artifact_type.startswith(_BUNDLES) else name
        found.setdefault(place.name, []).append(artifact)
    for key, some in found.items():
        push_artifacts(remote.client(places[key].registry), places[key].repository, some)


def fetch_attached(remote: Remote, name: Reference, subject: Digest, environ: Mapping[str, str]) -> list[Artifact]:
    """Return what refers to an image, from beside it and from where signatures are kept. Raises RegistryError."""
    places = {place.name: place for place in (name, signatures_of(name, environ))}
    found = [
        artifact
        for place in places.values()
        for artifact in fetch_artifacts(remote.client(place.registry), place.repository, subject)
    ]
    return list({artifact.row.digest: artifact for artifact in found}.values())
