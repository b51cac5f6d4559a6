"""Where the base images of a build come from."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.builder.api.session import Session
from tiffin.builder.errors import ImageNotFoundError, RegistryError
from tiffin.builder.events import InfoMessage, Sink, WarningMessage
from tiffin.builder.oci.reference import Reference
from tiffin.builder.oci.spec import Platform
from tiffin.builder.plan.plan_options import PREFIX_BUILT, PREFIX_LAYOUT, BaseImage
from tiffin.cache.foundation.frozen import replace

if TYPE_CHECKING:
    from tiffin.builder.api.build_options import BuildOptions
    from tiffin.builder.image.remote import Remote
    from tiffin.builder.image.resolved import Resolved
    from tiffin.builder.image.store import StoredImage
    from tiffin.builder.sharing.caches import SharedCaches
    from tiffin.builder.solver.explain import Explainer

RETRY_SECONDS = 600  # a registry that could not be asked is left alone for so long


class BaseImageResolver:
    """Resolves names.

    `policy` is one of pull_policy, or "": a tag that a registry was asked about is looked up again after
    `renew_seconds()`, if it can be, and an image that is here whole is taken. `built`: as in BuildOptions.
    """

    def __init__(
        self,
        session: Session,
        remote: Callable[[], Remote],
        sink: Sink,
        *,
        policy: str,
        renew_seconds: Callable[[], float],
        built: Mapping[str, Mapping[Platform, BaseImage]] = {},
    ) -> None:
        self._session = session
        self._remote = remote
        self._sink = sink
        self._policy = policy
        self._renew_seconds = renew_seconds
        self._built = built

    def resolve(self, name: str, platform: Platform) -> BaseImage:
        """Return a base image: here whole, looked at before, or from its registry."""
        if name.startswith(PREFIX_BUILT):
            return self._made(name.removeprefix(PREFIX_BUILT), platform)
        if name.startswith(PREFIX_LAYOUT):
            image = self._from_layout(name.removeprefix(PREFIX_LAYOUT), platform)
        else:
            reference = Reference.parse(name)
            if self._known(reference, platform) is None:
                reference = Reference.parse(self._remote().alias(name))
            image = self._find(reference, platform)
            name = str(reference)
        return BaseImage(
            name=name, manifest=image.manifest, config=image.config, manifest_digest=image.descriptor.digest
        )

    def _made(self, name: str, platform: Platform) -> BaseImage:
        """Return what was built before; what was built for one platform serves all, as in BuildKit."""
        found = self._built.get(name, {})
        image = found.get(platform) or (next(iter(found.values())) if len(found) == 1 else None)
        if image is None:
            made = ", ".join(map(str, found)) or "nothing"
            raise ImageNotFoundError(f"{name} was not built for {platform}, but for {made}", remedy="build it for that")
        return image

    def _find(self, reference: Reference, platform: Platform) -> StoredImage:
        store = self._session.store
        if self._policy == "always":
            return self._remote().look_up(reference, platform)
        whole = self._whole(reference, platform)
        known, found = self._known(reference, platform), store.notes.resolved(reference, platform)
        if known is None:
            if self._policy == "never":
                raise ImageNotFoundError(
                    f'no image is called "{reference}"', remedy="pull it, or leave out --pull=never"
                )
            return self._remote().look_up(reference, platform)
        if self._is_asked(reference, found, is_whole=whole is not None):
            return self._renewed(reference, platform, known, found)
        if found is not None and found.asked:
            self._sink.emit(InfoMessage(message=f"{reference} is {found.reported}, {_age(found)}"))
        return known

    def _whole(self, reference: Reference, platform: Platform) -> StoredImage | None:
        image = self._session.store.get(reference)
        return image if image is None or image.config.platform.architecture == platform.architecture else None

    def _known(self, reference: Reference, platform: Platform) -> StoredImage | None:
        return self._whole(reference, platform) or self._session.store.resolved(reference, platform)

    def _is_asked(self, reference: Reference, found: Resolved | None, *, is_whole: bool) -> bool:
        """Whether the registry is asked about an image that is known."""
        if reference.digest is not None or self._policy in ("missing", "never"):
            return False
        if self._policy == "newer":
            return True
        if is_whole or found is None:
            return False
        limit = self._renew_seconds()
        return time.time() - found.asked >= limit and time.time() - found.tried >= (RETRY_SECONDS if limit else 0)

    def _renewed(
        self, reference: Reference, platform: Platform, known: StoredImage, found: Resolved | None
    ) -> StoredImage:
        """Return what the registry has now; what is known if it cannot be asked."""
        from tiffin.builder.settings.pull_policy import ASK_SECONDS, is_current

        notes, remote = self._session.store.notes, self._remote()
        try:
            reported = remote.current_digest(reference, ASK_SECONDS)
            if reported is not None and found is not None and reported == found.reported:
                notes.keep_resolved(reference, platform, replace(found, asked=time.time(), tried=0))
                return known
            if reported is not None and is_current(remote, reference, known, reported):
                return known
            if reported is not None:
                newer = remote.look_up(reference, platform)
                self._sink.emit(InfoMessage(message=f"{reference} is {reported} now"))
                return newer
            reason = "the registry has it no more"
        except RegistryError as exc:
            reason = exc.message
        if found is not None:
            notes.keep_resolved(reference, platform, replace(found, tried=time.time()))
        used = f"{found.reported}, {_age(found)}" if found is not None else f"{known.descriptor.digest}"
        self._sink.emit(WarningMessage(message=f"{reference} was not looked up again ({reason}); using {used}"))
        return known

    def _from_layout(self, text: str, platform: Platform) -> StoredImage:
        """Return an image of an OCI layout directory, PATH[:TAG][@DIGEST]."""
        from tiffin.builder.image.archive import Loader

        path, _, digest = text.partition("@")
        tag = ""
        if not Path(path).is_dir():
            path, _, tag = path.rpartition(":")
        loader = Loader(self._session.state, self._session.blobs, self._session.store)
        return loader.find(Path(path), digest or tag, platform)


def resolver_for(
    options: BuildOptions, session: Session, sink: Sink, remote: Callable[[], Remote]
) -> BaseImageResolver:
    """Return what finds the base images of a build."""

    def renew_seconds() -> float:
        from tiffin.builder.settings.pull_policy import pull_after

        return pull_after(os.environ)

    return BaseImageResolver(
        session, remote, sink, policy=options.pull, renew_seconds=renew_seconds, built=options.built
    )


def explainer_of(session: Session, shared: SharedCaches | None) -> Callable[[], Explainer]:
    """Return what makes the explainer, before anything runs, from the records there are then."""

    def make() -> Explainer:
        from tiffin.builder.solver.explain import Explainer
        from tiffin.cache.store.local import LocalCache

        others = shared.records() if shared is not None else ()
        return Explainer([*(record for _, record in LocalCache(session.table).records()), *others], session.table.get)

    return make


def _age(found: Resolved) -> str:
    from tiffin.builder.plain_text import duration_text

    if not found.asked:
        return "looked up long ago"
    return f"looked up {duration_text(max(0, time.time() - found.asked)).lower()} ago"
