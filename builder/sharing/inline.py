"""The cache that an image holds itself: asked for by --cache-to type=inline or BuildKit's build argument, written into
its configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.cache.backend import StepRecord
    from tiffin.cache.foundation.digest import Digest
    from tiffin.cache.shared.signing import RecordSigner

BUILD_ARGUMENT = "BUILDKIT_INLINE_CACHE"
Inline = Callable[[Mapping["Digest", "StepRecord"]], str]


def without_inline(cache_to: Sequence[str]) -> list[str]:
    """Return the values of --cache-to but type=inline, which is not a place of its own."""
    return [text for text in cache_to if not _is_inline(text)]


def has_inline(cache_to: Sequence[str]) -> bool:
    """Whether one of the values of --cache-to asks for it."""
    return any(map(_is_inline, cache_to))


def inline_with(signer: RecordSigner) -> Inline:
    """Return what makes the cache that the image is to hold of the records of its steps."""
    from tiffin.builder.image.cache_image import inline

    sign = signer.sign
    return lambda records: inline({key.hex: sign(key.hex, record.encode()) for key, record in records.items()})


def _is_inline(text: str) -> bool:
    return "type=inline" in text.split(",")
