"""What cosign before version 3 keeps under tags made of an image's digest: images whose layers are signatures (.sig) or
signed attestations (.att).
"""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.image.attached.shared_tags import Change
from tiffin.builder.oci.json_fields import canonical
from tiffin.builder.oci.spec import OCI_CONFIG, OCI_MANIFEST, Descriptor, Manifest
from tiffin.builder.registry.client import RegistryClient
from tiffin.cache.foundation.digest import Digest

SUFFIXES = ("sig", "att")
NO_TIME = "0001-01-01T00:00:00Z"  # Go's zero time, which cosign writes


def adding_layers(client: RegistryClient, repository: str, layers: Sequence[Descriptor], whole: bytes = b"") -> Change:
    """Return what adds layers, whose blobs are there, to those under a tag; `whole` is put where nothing is."""

    def add(before: bytes | None) -> bytes | None:
        if before is None and whole:
            return whole
        there = Manifest.decode(before).layers if before is not None else ()
        missing = [layer for layer in layers if layer not in there]
        if not missing:
            return None
        manifest, config = manifest_of([*there, *missing])
        client.push_bytes(repository, config, OCI_CONFIG)
        return manifest

    return add


def manifest_of(layers: Sequence[Descriptor]) -> tuple[bytes, bytes]:
    """Return the manifest of such an image, and its configuration."""
    config = canonical(
        {
            "architecture": "",
            "config": {},
            "created": NO_TIME,
            "history": [{"created": NO_TIME} for _ in layers],
            "os": "",
            "rootfs": {"type": "layers", "diff_ids": [str(layer.digest) for layer in layers]},
        }
    )
    described = Descriptor(media_type=OCI_CONFIG, digest=Digest.of(config), size_bytes=len(config))
    return Manifest(config=described, layers=tuple(layers), media_type=OCI_MANIFEST).encode(), config
