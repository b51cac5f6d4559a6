"""The image of a container: found here, or pulled."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager

from tiffin.builder.api.run_options import RunOptions
from tiffin.builder.api.session import Session
from tiffin.builder.errors import ImageError, ImageNotFoundError, TiffinError
from tiffin.builder.settings.access import may_have_rules
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING

if TYPE_CHECKING:
    from tiffin.builder.events import Sink
    from tiffin.builder.image.store import StoredImage
    from tiffin.builder.oci.reference import Reference

Progress = Callable[[], "AbstractContextManager[Sink]"]


class RunImage:
    """The image that options of a run name. `progress` makes the sink of a pull."""

    def __init__(self, options: RunOptions, session: Session, sink: Sink, progress: Progress) -> None:
        self._options = options
        self._session = session
        self._sink = sink
        self._progress = progress

    def is_listed(self) -> bool:
        """Whether the list of images has this very name, so that there will be nothing to pull.

        A look at its text alone.
        """
        if self._options.pull in ("always", "newer") or self._options.platform:
            return False
        from tiffin.builder.oci.reference import Reference

        try:
            name = str(Reference.parse(self._options.image))
            return f'"{name}"'.encode() in self._session.state.image_list.read_bytes()
        except (TiffinError, OSError):
            return False

    def find(self) -> StoredImage | None:
        """Return the image that is here and will do. Raises ImageNotFoundError where none may be pulled,
        PolicyError.
        """
        image = self._find()
        if image is not None and may_have_rules(os.environ, self._options.registry):
            self._judge(image)
        return image

    def _judge(self, image: StoredImage) -> None:
        from tiffin.builder.api.rules.images import judge_here

        judge_here(self._options.image, image, self._options.registry, self._session)

    def _find(self) -> StoredImage | None:
        options, store = self._options, self._session.store
        if options.stored is not None or options.pull == "always":
            return options.stored
        try:
            image = store.find(options.image)
        except ImageNotFoundError:
            alias = _alias(options.image)
            known = store.get(alias) if alias is not None else None
            if known is None and options.pull == "never":
                raise
            if known is None:
                return None
            image = known
        if options.platform:
            from tiffin.builder.oci.spec import Platform

            if image.config.platform.architecture != Platform.parse(options.platform).architecture:
                return None
        return image if options.pull != "newer" or self._is_current(image) else None

    def _is_current(self, image: StoredImage) -> bool:
        """Whether the registry has nothing newer; one that cannot be asked has not."""
        from tiffin.builder.errors import RegistryError
        from tiffin.builder.events import NullSink, WarningMessage
        from tiffin.builder.oci.reference import Reference
        from tiffin.builder.settings.pull_policy import ASK_SECONDS, is_current

        reference = Reference.parse(self._options.image)
        if not image.names or reference.digest is not None:
            return True  # it was named by its id, or by what it is
        remote = self._session.remote(NullSink(), self._options.registry)
        try:
            reported = remote.current_digest(reference, ASK_SECONDS)
            return reported is None or is_current(remote, reference, image, reported)
        except RegistryError as exc:
            self._sink.emit(
                WarningMessage(message=f"{reference} was not looked up again ({exc.message}); using {image.id}")
            )
            return True

    def pull(self) -> StoredImage:
        """Pull it. Raises RegistryError, ImageError."""
        from tiffin.builder.events import InfoMessage
        from tiffin.builder.oci.reference import Reference
        from tiffin.builder.oci.spec import Platform

        options = self._options
        platform = Platform.parse(options.platform) if options.platform else Platform.local()
        with self._progress() as sink:
            if options.pull not in ("always", "newer"):
                sink.emit(InfoMessage(message=f"image {options.image} is not here; pulling it"))
            remote = self._session.remote(sink, options.registry)
            reference = Reference.parse(remote.alias(options.image))
            if may_have_rules(os.environ, options.registry):
                from tiffin.builder.api.rules.images import RUN, judge_elsewhere

                judge_elsewhere(options.image, reference, platform, remote, options.registry, RUN, self._session)
            image = remote.pull(reference, platform)
        if options.platform and image.config.platform.architecture != platform.architecture:
            raise ImageError(
                f"{options.image} is for {image.config.platform}, not for {platform}",
                remedy="leave out --platform, or name another",
            )
        return image


def _alias(name: str) -> Reference | None:
    """Return what a short name stands for, None if for itself."""
    from tiffin.builder.oci.reference import Reference
    from tiffin.builder.settings.registries import read_mirrors

    alias = read_mirrors(os.environ).alias(name)
    return Reference.parse(alias) if alias != name else None
