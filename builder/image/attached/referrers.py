"""Artifacts beside an image in a registry (distribution-spec, "Listing Referrers" and "Referrers Tag Schema")."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tiffin.builder.errors import NotInRegistryError
from tiffin.builder.image.attached.artifact import Artifact, is_small, subject_of
from tiffin.builder.image.attached.shared_tags import Change, change_tags
from tiffin.builder.oci.json_fields import Fields, canonical
from tiffin.builder.oci.spec import OCI_INDEX, Descriptor
from tiffin.builder.registry.client import RegistryClient
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.workers import Workers

MAX_PUSHED_AT_ONCE = 4


def fallback_tag(subject: Digest) -> str:
    """Return the tag that has the list of referrers where a registry keeps none."""
    return f"{subject.algorithm}-{subject.hex}"


def push_artifact(client: RegistryClient, repository: str, artifact: Artifact) -> Digest:
    """Push an artifact whose subject is there; return the digest of its manifest. Raises RegistryError."""
    push_artifacts(client, repository, [artifact])
    return artifact.row.digest


def push_artifacts(client: RegistryClient, repository: str, artifacts: Sequence[Artifact]) -> None:
    """Push artifacts whose subjects are there. Raises RegistryError.

    Where the registry lists no referrers, a tag named after each subject has them.
    """
    blobs = {descriptor.digest: (data, descriptor.media_type) for item in artifacts for descriptor, data in item.blobs}
    with Workers(MAX_PUSHED_AT_ONCE, "referrers") as pool:
        pool.each(lambda blob: client.push_bytes(repository, *blob), blobs.values())
    unlisted: dict[Digest, list[dict[str, object]]] = {}
    for artifact in artifacts:  # in their order: a signature comes after what it lists
        if not client.put_referrer(repository, artifact.manifest, artifact.row.media_type):
            unlisted.setdefault(artifact.subject, []).append(artifact.row.to_json())
    adding = {fallback_tag(subject): _adding(subject, rows) for subject, rows in unlisted.items()}
    change_tags(client, repository, OCI_INDEX, adding)


def referrers_of(client: RegistryClient, repository: str, subject: Digest) -> tuple[Descriptor, ...]:
    """Return what refers to a manifest, from the registry's list or the tag in its place, where tools put it that did
    not know of the list. Raises RegistryError.
    """
    data = client.referrers(repository, subject)
    rows = _rows_of(data) if data is not None else []
    return tuple(_descriptors(rows or _rows(client, repository, subject), subject))


def fetch_artifacts(client: RegistryClient, repository: str, subject: Digest) -> list[Artifact]:
    """Return what refers to a manifest, with its blobs; what is not small is left out. Raises RegistryError."""

    def read_blob(descriptor: Descriptor) -> bytes:
        with client.get_blob(repository, descriptor) as stream:
            return stream.read()

    found = []
    for row in referrers_of(client, repository, subject):
        data = client.get_manifest(repository, str(row.digest)).data
        if subject_of(data) == subject and is_small(data):
            found.append(Artifact.of(row, data, read_blob))
    return found


def _descriptors(rows: list[dict[str, object]], subject: Digest) -> list[Descriptor]:
    return [Descriptor.from_fields(Fields.decode(canonical(row), f"referrers of {subject}")) for row in rows]


def _adding(subject: Digest, rows: Sequence[Mapping[str, object]]) -> Change:
    """Return what adds rows to the index under the tag that stands for the list."""

    def add(data: bytes | None) -> bytes | None:
        known = _rows_in(data, subject)
        there = {row.get("digest") for row in known}
        missing = [row for row in rows if row["digest"] not in there]
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [*known, *missing]}
        return canonical(document) if missing else None

    return add


def _rows(client: RegistryClient, repository: str, subject: Digest) -> list[dict[str, object]]:
    """Return the list under the tag."""
    try:
        return _rows_in(client.get_manifest(repository, fallback_tag(subject)).data, subject)
    except NotInRegistryError:
        return []


def _rows_in(data: bytes | None, subject: Digest) -> list[dict[str, object]]:
    """Return the list; nothing where the registry takes the tag for the digest, as GitLab's does."""
    return _rows_of(data) if data is not None and Digest.of(data) != subject else []


def _rows_of(data: bytes) -> list[dict[str, object]]:
    document = json.loads(data)
    rows = document.get("manifests") if isinstance(document, dict) else None
    return [row for row in rows or () if isinstance(row, dict)]
