"""What is attached to an image as policies in Rego see it: signatures, and a provenance with what it was made from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from tiffin.builder.errors import ImageError, TiffinError, UsageError
from tiffin.builder.instructions.ops import UrlOrigin
from tiffin.builder.instructions.remote import filename_of, is_git, is_http, parse_git
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.builder.policy.facts import GIT, IMAGE, URL, Evidence, Subject
from tiffin.builder.policy.rego.asked import MATERIALS, Asked
from tiffin.builder.policy.rego.documents import document_of, materials_in, provenance_document, signature_document
from tiffin.builder.registry.download import shown
from tiffin.cache.errors import DigestError
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import replace

PROVENANCE, SIGNATURES, HAS_PROVENANCE = MEMBERS = ("provenance", "signatures", "hasProvenance")
MAX_DEPTH = 24  # buildx's
DOCKER = "pkg:docker/"


def attached_to(subject: Subject, evidence: Evidence, members: Collection[str], asked: Asked) -> dict[str, Any]:
    """Return those members of an image's document that are attached to it; empty ones are left out."""
    reference, contents = subject.reference, subject.contents
    assert reference is not None and contents is not None
    found: dict[str, Any] = {}
    if HAS_PROVENANCE in members:
        found[HAS_PROVENANCE] = evidence.has_provenance(reference, contents.digest)
    if SIGNATURES in members:
        made = evidence.signatures(reference, contents.digest)
        found[SIGNATURES] = [signature_document(signature) for signature in made]
    if PROVENANCE in members:
        found[PROVENANCE] = with_materials(reference, contents.digest, subject, evidence, asked)
    return {name: value for name, value in found.items() if value}


def with_materials(
    reference: Reference, digest: str, subject: Subject, evidence: Evidence, asked: Asked, seen: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return the provenance of an image, {} where it has none; materials are looked up where a rule asks for more than
    their names. Raises TiffinError.
    """
    found = evidence.provenance(reference, digest)
    if found is None:
        return {}
    document = provenance_document(found.predicate_type, found.predicate)
    if not asked.names(MATERIALS):
        return document
    if len(seen) >= MAX_DEPTH:
        raise UsageError(f"{subject.name} was made from more than {MAX_DEPTH} images, one above another", remedy="")
    materials: list[dict[str, Any]] = []
    for uri, digests in materials_in(found.predicate):
        material = material_of(uri, digests, subject)
        if material is None:
            continue  # buildx knows no other kinds
        document_of_it = document_of(material, depth=len(seen) + 1)
        if material.reference is not None and asked.asks_into_materials():
            document_of_it[IMAGE] |= _looked_up(material, evidence, asked, (*seen, digest))
        materials.append(document_of_it)
    return {**document, **({MATERIALS: materials} if materials else {})}


def material_of(uri: str, digests: Mapping[str, str], subject: Subject) -> Subject | None:
    """Return what an image was made from as a source; None for what has no document."""
    around = subject.environment
    if uri.startswith(DOCKER):
        return _image(uri, digests, subject)
    if is_git(uri, context=True):
        origin = parse_git(uri)
        commit = digests.get("sha1", digests.get("sha256", ""))
        name = shown(origin.url)
        return Subject(kind=GIT, name=name, ref=origin.ref, subdir=origin.subdir, checksum=commit, environment=around)
    if is_http(uri):
        checksum = f"sha256:{digests['sha256']}" if "sha256" in digests else ""
        file = UrlOrigin(url=uri, filename=filename_of(uri))
        return Subject(kind=URL, name=shown(uri), origin=file, checksum=checksum, environment=around)
    return None


def _image(uri: str, digests: Mapping[str, str], subject: Subject) -> Subject | None:
    parts = urlsplit(uri.removeprefix("pkg:"))
    path, _, version = parts.path.removeprefix("docker/").partition("@")
    fields = dict(field.split("=", 1) for field in parts.query.split("&") if "=" in field)
    name, version = unquote(path), unquote(version)
    platform = unquote(fields.get("platform", ""))
    try:
        reference = Reference.parse(f"{name}@{version}" if version.startswith("sha256:") else f"{name}:{version}")
        if "sha256" in digests:
            reference = replace(reference, digest=Digest.parse(f"sha256:{digests['sha256']}"))
        return Subject(
            kind=IMAGE,
            name=str(reference),
            reference=reference,
            checksum=str(reference.digest or ""),
            platform=Platform.parse(platform) if platform else subject.platform,
            environment=subject.environment,
        )
    except (ImageError, UsageError, DigestError):
        return None


def _looked_up(material: Subject, evidence: Evidence, asked: Asked, seen: tuple[str, ...]) -> dict[str, Any]:
    """Return all there is to know of an image that another was made from."""
    reference, platform = material.reference, material.platform
    assert reference is not None
    try:
        contents = evidence.image(reference, platform or Platform.local())
        found = replace(material, contents=contents)
        more: dict[str, Any] = document_of(found)[IMAGE]
        if contents.digest in seen:
            return more
        more |= attached_to(found, evidence, (SIGNATURES, HAS_PROVENANCE), asked)
        more[PROVENANCE] = with_materials(reference, contents.digest, material, evidence, asked, seen)
    except TiffinError as exc:
        remedy = "ask for their names alone, or see that the images are there"
        raise UsageError(f"a policy asks what {material.name} is: {exc.message}", remedy=remedy) from exc
    return {name: value for name, value in more.items() if value}
