"""The cache that an image holds itself: asked for by --cache-to type=inline or BuildKit's build argument, written into its configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from tiffin.builder.cli.options.build_values import is_on

if TYPE_CHECKING:
    from tiffin.cache.backend import StepRecord
    from tiffin.cache.digest import Digest
    from tiffin.cache.sealing import Sealer

BUILD_ARGUMENT = "BUILDKIT_INLINE_CACHE"
Inline = Callable[[Mapping["Digest", "StepRecord"]], str]


def without_inline(cache_to: Sequence[str]) -> list[str]:
    """The values of --cache-to but type=inline, which is no place of its own."""
    return [text for text in cache_to if not _is_inline(text)]


def inline_of(cache_to: Sequence[str], build_args: Mapping[str, str], sealer: Callable[[], Sealer]) -> Inline | None:
    """What makes the cache that the image is to hold of the records of its steps; None where none is wanted."""
    if not any(map(_is_inline, cache_to)) and not is_on(build_args, BUILD_ARGUMENT):
        return None
    from tiffin.builder.image.cache_image import inline

    seal = sealer().seal
    return lambda records: inline({key.hex: seal(key.hex, record.encode()) for key, record in records.items()})


def _is_inline(text: str) -> bool:
    return "type=inline" in text.split(",")
