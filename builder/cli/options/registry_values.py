"""How a command is told to reach registries."""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.builder.settings.access import RegistryAccess
from tiffin.cache.typed import cast

NAMES = ("insecure", "cert", "registry_mirrors")


def registry_access(options: Mapping[str, object]) -> RegistryAccess:
    """Return what --insecure-registry, --registry-cert and --registry-mirror say; a command may have none of them."""
    return RegistryAccess(
        insecure=cast("tuple[str, ...]", options.get("insecure") or ()),
        cert=str(options.get("cert") or ""),
        mirrors=cast("tuple[str, ...]", options.get("registry_mirrors") or ()),
    )
