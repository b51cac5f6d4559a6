"""Base images that no registry has."""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.builder.errors import NotInRegistryError
from tiffin.builder.oci.config import ImageConfig, RunConfig
from tiffin.builder.oci.spec import OCI_CONFIG, OCI_LAYER, Descriptor, Manifest, Platform
from tiffin.builder.plan.plan_options import BaseImage
from tiffin.cache.foundation.digest import Digest

PLATFORM = Platform(os="linux", architecture="amd64")


def base_image(name: str, *layers: str, platform: Platform = PLATFORM, config: RunConfig | None = None) -> BaseImage:
    """An image of these layers, which are words."""
    diff_ids = tuple(Digest.of(layer.encode()) for layer in layers)
    described = ImageConfig(platform=platform, diff_ids=diff_ids, config=config or RunConfig())
    manifest = Manifest(
        config=Descriptor(media_type=OCI_CONFIG, digest=Digest.of(described.encode()), size_bytes=1),
        layers=tuple(Descriptor(media_type=OCI_LAYER, digest=diff_id, size_bytes=1) for diff_id in diff_ids),
    )
    return BaseImage(
        name=name, manifest=manifest, config=described, manifest_digest=Digest.of(f"{name} {layers}".encode())
    )


class FakeImages:
    """Resolves names to images; each question is kept in `asked`."""

    def __init__(self, images: Mapping[str, BaseImage]) -> None:
        self.images = dict(images)
        self.asked: list[tuple[str, Platform]] = []

    def resolve(self, name: str, platform: Platform) -> BaseImage:
        self.asked.append((name, platform))
        if name not in self.images:
            raise NotInRegistryError(f"{name} not found", remedy="check the name")
        return self.images[name]
