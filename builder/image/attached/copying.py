"""Copy what is said of an image from one place to another."""

from __future__ import annotations

from tiffin.builder.image.attached.artifact import Artifact, is_small, subject_of
from tiffin.builder.image.attached.cosign_tags import SUFFIXES, adding_layers
from tiffin.builder.image.attached.places import AttachedPlace, RegistryPlace
from tiffin.builder.image.attached.shared_tags import change_tags
from tiffin.builder.oci.spec import Manifest
from tiffin.cache.foundation.digest import Digest


def copy_attached(source: AttachedPlace, target: AttachedPlace, subject: Digest) -> int:
    """Copy what refers to an image, and what is under cosign's tags for it; return how much that was.

    Raises RegistryError, UsageError.
    """
    count = 0
    for row in source.referrers(subject):
        data = source.manifest(str(row.digest))
        if data is not None and subject_of(data) == subject and is_small(data):
            target.attach(Artifact.of(row, data, source.blob))
            count += 1
    if isinstance(source, RegistryPlace) and isinstance(target, RegistryPlace):
        for suffix in SUFFIXES:
            count += _copy_tag(source, target, f"{subject.algorithm}-{subject.hex}.{suffix}")
    return count


def _copy_tag(source: RegistryPlace, target: RegistryPlace, tag: str) -> int:
    """Copy what is under a tag; what the target has there stays."""
    data = source.manifest(tag)
    if data is None or not is_small(data):
        return 0
    manifest = Manifest.decode(data)
    client, repository = target.client, target.reference.repository
    for descriptor in (manifest.config, *manifest.layers):
        client.push_bytes(repository, source.blob(descriptor), descriptor.media_type)

    adding = adding_layers(client, repository, manifest.layers, whole=data)
    change_tags(client, repository, manifest.media_type, {tag: adding})
    return 1
