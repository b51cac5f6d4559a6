"""Where the base images of a build come from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.session import Session
from builder.oci.reference import Reference
from builder.oci.spec import Platform
from builder.solver.recipe import PREFIX_LAYOUT, BaseImage

if TYPE_CHECKING:
    from builder.image.remote import Remote
    from builder.image.store import StoredImage


class Bases:
    """Resolves names; `pull` asks the registry even where an image is known."""

    def __init__(self, session: Session, remote: Callable[[], Remote], *, pull: bool) -> None:
        self._session = session
        self._remote = remote
        self._pull = pull

    def resolve(self, name: str, platform: Platform) -> BaseImage:
        """A base image: here whole, looked at before, or from its registry."""
        if name.startswith(PREFIX_LAYOUT):
            image = self._from_layout(name.removeprefix(PREFIX_LAYOUT), platform)
        else:
            reference = Reference.parse(name)
            known = None if self._pull else self._known(reference, platform)
            image = known or self._remote().look_up(reference, platform)
            name = str(reference)
        return BaseImage(
            name=name, manifest=image.manifest, config=image.config, manifest_digest=image.descriptor.digest
        )

    def _known(self, reference: Reference, platform: Platform) -> StoredImage | None:
        store = self._session.store
        image = store.get(reference)
        if image is not None and image.config.platform.architecture != platform.architecture:
            image = None
        return image or store.resolved(reference, platform)

    def _from_layout(self, text: str, platform: Platform) -> StoredImage:
        """An image of an OCI layout directory, PATH[:TAG][@DIGEST]."""
        from builder.image.archive import Loader

        path, _, digest = text.partition("@")
        tag = ""
        if not Path(path).is_dir():
            path, _, tag = path.rpartition(":")
        loader = Loader(self._session.state, self._session.blobs, self._session.store)
        return loader.find(Path(path), digest or tag, platform)
