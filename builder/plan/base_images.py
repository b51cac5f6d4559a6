"""The images that a plan stands on: each is resolved once for a platform, and what goes wrong is told with its
place.
"""

from __future__ import annotations

from collections.abc import Callable

from tiffin.builder.errors import BuildError, DockerfileError, ImageError, RegistryError, Span, UsageError
from tiffin.builder.instructions.ops import ImageOrigin
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.builder.plan.plan_options import PREFIX_BUILT, PREFIX_LAYOUT, BaseImage, SourceRules

ResolveImage = Callable[[str, Platform], BaseImage]


class BaseImages:
    """`table` holds them by the names that origins have: a name alone is of the platform that is built for."""

    def __init__(self, resolve: ResolveImage, platform: Platform, rules: SourceRules | None = None) -> None:
        self.table: dict[str, BaseImage] = {}
        self._resolve = resolve
        self._platform = platform
        self._rules = rules

    def origin(self, name: str, platform: Platform, span: Span) -> ImageOrigin:
        """Raise DockerfileError for what can name no image, BuildError for one that cannot be had."""
        if not name.startswith((PREFIX_LAYOUT, PREFIX_BUILT)):
            try:
                Reference.parse(name)
            except (UsageError, ImageError) as exc:
                raise DockerfileError(exc.message, span=span, remedy=exc.remedy) from exc
        key = name if platform == self._platform else f"{name} ({platform})"
        if key not in self.table:
            wanted = self._rules.image(name, platform, span) if self._rules is not None else name
            while wanted:
                try:
                    self.table[key] = self._resolve(wanted, platform)
                except (RegistryError, ImageError) as exc:
                    what = "" if name in exc.message else f"image {name}: "
                    raise BuildError(what + exc.message, span=span, remedy=exc.remedy) from exc
                wanted = "" if self._rules is None else self._rules.found(name, platform, self.table[key], span)
        return ImageOrigin(name=key)
