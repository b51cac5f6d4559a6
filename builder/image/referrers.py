"""Documents about an image, beside it in a registry (distribution-spec, "Listing Referrers" and "Referrers Tag
Schema").
"""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.builder.errors import NotInRegistryError
from tiffin.builder.oci.json_fields import canonical
from tiffin.builder.oci.spec import OCI_INDEX, OCI_MANIFEST, Descriptor
from tiffin.builder.registry.client import RegistryClient
from tiffin.cache.foundation.digest import Digest

EMPTY_TYPE, EMPTY = "application/vnd.oci.empty.v1+json", b"{}"
MAX_TRIES = 5  # another may write the same tag


def push_referrer(
    client: RegistryClient,
    repository: str,
    subject: Descriptor,
    data: bytes,
    media_type: str,
    annotations: Mapping[str, str],
) -> Digest:
    """Push a document that refers to `subject`, which is there; return the digest of its manifest.

    Where the registry lists no referrers, a tag named after the subject has them. Raises RegistryError.
    """
    for content, kind in ((EMPTY, EMPTY_TYPE), (data, media_type)):
        client.push_bytes(repository, content, kind)
    manifest = canonical(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": media_type,
            "config": _descriptor(EMPTY, EMPTY_TYPE),
            "layers": [{**_descriptor(data, media_type), "annotations": dict(annotations)}],
            "subject": subject.to_json(),
            "annotations": dict(annotations),
        }
    )
    digest = Digest.of(manifest)
    is_listed = client.put_referrer(repository, manifest, OCI_MANIFEST)
    if not is_listed:
        row = {**_descriptor(manifest, OCI_MANIFEST), "artifactType": media_type, "annotations": dict(annotations)}
        _list(client, repository, subject.digest, row)
    return digest


def _list(client: RegistryClient, repository: str, subject: Digest, row: Mapping[str, object]) -> None:
    """Add a row to the index under the tag that stands for the list; try again where another wrote it meanwhile."""
    tag = f"{subject.algorithm}-{subject.hex}"
    for _ in range(MAX_TRIES):
        rows = _rows(client, repository, tag)
        if any(known.get("digest") == row["digest"] for known in rows):
            return
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [*rows, row]}
        client.put_manifest(repository, tag, canonical(document), OCI_INDEX)


def _rows(client: RegistryClient, repository: str, tag: str) -> list[dict[str, object]]:
    import json

    try:
        document = json.loads(client.get_manifest(repository, tag).data)
    except NotInRegistryError:
        return []
    rows = document.get("manifests", []) if isinstance(document, dict) else []
    return [row for row in rows if isinstance(row, dict)]


def _descriptor(data: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}
