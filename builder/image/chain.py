"""The layers of an image or a stage, lowest first."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.builder.oci.spec import chain_id
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.frozen import dataclass
from tiffin.cache.store.snapshots import BlobRef


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRef:
    """One layer of a chain. `blob` is its packed form as far as known; `created` RFC 3339, "" for a base's layer."""

    diff_id: Digest
    blob: BlobRef | None
    created: str = ""
    base: bool = False  # came with the base image


Chain = tuple[LayerRef, ...]


def chain_of(layers: Sequence[LayerRef]) -> Digest:
    """Return the ChainID of a stack of layers."""
    return chain_id([layer.diff_id for layer in layers])
